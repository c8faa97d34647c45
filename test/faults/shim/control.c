/*
 * Reads the control file and injects faults around every call: latency, hangs, error codes, crashes and dropped
 * sessions. Also counts and logs the calls.
 */
/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "control.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

CK_FUNCTION_LIST_PTR shim_real;
struct shim_shared *shim_shared;
struct shim_process *shim_self;

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Every call holds the read lock, so that sessions are dropped only between calls. */
static pthread_rwlock_t calls = PTHREAD_RWLOCK_INITIALIZER;
static uint32_t seen_drop;
/* The slot plus 1, or 0 if no session has been opened yet. */
static uint32_t own_slot;
static __thread uint64_t began_at;

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void sleep_us(uint64_t micros) {
  struct timespec rest = {(time_t)(micros / 1000000u), (long)(micros % 1000000u) * 1000};
  while (nanosleep(&rest, &rest) != 0 && errno == EINTR) continue;
}

static struct shim_process *take_place(void) {
  uint32_t pid = (uint32_t)getpid();
  for (int i = 0; i < SHIM_PROCESSES; i++) {
    struct shim_process *place = &shim_shared->processes[i];
    uint32_t other = __atomic_load_n(&place->pid, __ATOMIC_ACQUIRE);
    if (other != 0 && (kill((pid_t)other, 0) == 0 || errno != ESRCH)) continue;
    if (!__atomic_compare_exchange_n(&place->pid, &other, pid, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      continue;
    memset(&place->sessions, 0, sizeof *place - sizeof place->pid);
    return place;
  }
  return NULL;
}

static int map_control(void) {
  const char *file = getenv("LATCHKEY_FAULT_CONTROL");
  int descriptor = file == NULL ? -1 : open(file, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return 0;
  void *mapped = mmap(NULL, sizeof *shim_shared, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (mapped == MAP_FAILED) return 0;
  shim_shared = mapped;
  if (shim_shared->magic != SHIM_MAGIC || shim_shared->size != sizeof *shim_shared) return 0;
  seen_drop = shim_shared->drop_generation;
  shim_self = take_place();
  return shim_self != NULL;
}

static void load(void) {
  const char *file = getenv("LATCHKEY_FAULT_MODULE");
  void *library = file == NULL ? NULL : dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "fault module: LATCHKEY_FAULT_MODULE: %s\n", file == NULL ? "not set" : dlerror());
    return;
  }
  CK_C_GetFunctionList list = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  CK_FUNCTION_LIST_PTR real = NULL;
  if (list == NULL || list(&real) != CKR_OK) return;
  if (!map_control()) {
    fprintf(stderr, "fault module: LATCHKEY_FAULT_CONTROL names no control file of this layout\n");
    return;
  }
  shim_real = real;
}

CK_RV shim_load(void) {
  pthread_once(&once, load);
  return shim_real == NULL ? CKR_GENERAL_ERROR : CKR_OK;
}

static void wait_while_hanging(const uint32_t *hang, uint64_t since) {
  for (;;) {
    uint32_t wanted = __atomic_load_n(hang, __ATOMIC_ACQUIRE);
    if (wanted == 0) return;
    if (wanted != SHIM_ALWAYS && now_us() - since >= (uint64_t)wanted * 1000u) return;
    sleep_us(1000);
  }
}

static void drop_when_told(void) {
  uint32_t wanted = __atomic_load_n(&shim_shared->drop_generation, __ATOMIC_ACQUIRE);
  if (wanted == __atomic_load_n(&seen_drop, __ATOMIC_ACQUIRE)) return;
  pthread_rwlock_wrlock(&calls);
  if (wanted != seen_drop) {
    shim_drop_all();
    __atomic_store_n(&seen_drop, wanted, __ATOMIC_RELEASE);
    __atomic_fetch_add(&shim_self->drops, 1, __ATOMIC_RELAXED);
  }
  pthread_rwlock_unlock(&calls);
}

/* Decides at random whether to inject a fault into this call, and decrements the number of remaining faults. */
static int is_hit(struct shim_plan *plan) {
  uint32_t left = __atomic_load_n(&plan->remaining, __ATOMIC_ACQUIRE);
  if (left == 0) return 0;
  uint32_t ppm = plan->ppm;
  if (ppm != 0 && (uint32_t)(random() % 1000000) >= ppm) return 0;
  while (left != 0 && left != SHIM_ALWAYS) {
    if (__atomic_compare_exchange_n(&plan->remaining, &left, left - 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      return 1;
  }
  return left == SHIM_ALWAYS;
}

void shim_turn_to(CK_SLOT_ID slot) { __atomic_store_n(&own_slot, (uint32_t)slot + 1, __ATOMIC_RELEASE); }

/* Returns whether the plan applies to this process's slot. */
static int is_meant(void) {
  uint32_t only = shim_shared->only_slot;
  return only == 0 || only == __atomic_load_n(&own_slot, __ATOMIC_ACQUIRE);
}

static CK_RV answer(int function, struct shim_plan *plan) {
  __atomic_fetch_add(&shim_shared->counts[function].injected, 1, __ATOMIC_RELAXED);
  if (plan->crash != 0) {
    /* Reset any handler that Node.js has installed, so that the signal kills the process. */
    signal((int)plan->crash, SIG_DFL);
    raise((int)plan->crash);
  }
  return plan->rv;
}

CK_RV shim_begin(int function) {
  struct shim_plan *plan = &shim_shared->plans[function];
  began_at = now_us();
  __atomic_fetch_add(&shim_shared->counts[function].calls, 1, __ATOMIC_RELAXED);
  uint32_t now = __atomic_add_fetch(&shim_self->in_flight, 1, __ATOMIC_RELAXED);
  uint32_t most = __atomic_load_n(&shim_self->most_in_flight, __ATOMIC_RELAXED);
  while (now > most &&
         !__atomic_compare_exchange_n(&shim_self->most_in_flight, &most, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    continue;
  int does_damage = is_meant();
  if (does_damage) {
    uint64_t latency = (uint64_t)shim_shared->latency_us + plan->latency_us;
    if (latency != 0) sleep_us(latency);
    wait_while_hanging(&shim_shared->hang, began_at);
    wait_while_hanging(&plan->hang, began_at);
    drop_when_told();
  }
  pthread_rwlock_rdlock(&calls);
  return does_damage && plan->after == 0 && is_hit(plan) ? answer(function, plan) : SHIM_PASS;
}

CK_RV shim_end(int function, CK_RV rv) {
  struct shim_plan *plan = &shim_shared->plans[function];
  pthread_rwlock_unlock(&calls);
  if (plan->after != 0 && is_meant() && is_hit(plan)) rv = answer(function, plan);
  if (rv != CKR_OK) __atomic_fetch_add(&shim_shared->counts[function].failed, 1, __ATOMIC_RELAXED);
  __atomic_fetch_sub(&shim_self->in_flight, 1, __ATOMIC_RELAXED);
  uint32_t place = __atomic_fetch_add(&shim_shared->log_next, 1, __ATOMIC_RELAXED) % SHIM_LOG;
  shim_shared->log[place] = (struct shim_entry){
      shim_self->pid, (uint32_t)function, (uint32_t)rv, (uint32_t)(now_us() - began_at)};
  return rv;
}

/* Enforces the token's session limit across all processes. */
CK_RV shim_admit_session(void) {
  uint32_t limit = shim_shared->max_sessions;
  if (limit == 0) return SHIM_PASS;
  uint32_t open = 0;
  for (int i = 0; i < SHIM_PROCESSES; i++) {
    const struct shim_process *place = &shim_shared->processes[i];
    if (place->pid != 0 && kill((pid_t)place->pid, 0) == 0) open += place->sessions;
  }
  return open >= limit ? CKR_SESSION_COUNT : SHIM_PASS;
}
