/*
 * A kernel timer that cuts the connections of this process soon after the end of a lease. The kernel runs the handler of
 * a pending signal before the next instruction of a suspended thread, so a process does not complete a write that it was
 * about to make when it was suspended. docs/revocation.md explains which gap this closes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <errno.h>
#include <netinet/in.h>
#include <node_api.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The field's public name is missing in older C libraries. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* A serving process has one; tests have several. */
#define GUARDS 64
#define DESCRIPTORS_MOST (1 << 20)
#define MS_PER_S 1000
#define NS_PER_MS 1e6
/* Upper limit for every number passed in: a thousand years in milliseconds. */
#define MOST 3e13

struct guard {
  timer_t timer;
  /* 0: this slot is free. */
  atomic_int is_open;
  /* In network byte order; 0: none yet. */
  atomic_int port;
  atomic_uint firings;
  atomic_uint cut;
};

/* Never freed, so that a late signal finds valid memory. */
static struct guard guards[GUARDS];
static int guard_signal;
static int descriptors;

/* Returns the local port of a listening or connected socket; -1 for anything else. */
static int local_port(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) != 0) return -1;
  if (address.ss_family == AF_INET) return ((struct sockaddr_in *)&address)->sin_port;
  if (address.ss_family == AF_INET6) return ((struct sockaddr_in6 *)&address)->sin6_port;
  return -1;
}

static int socket_option(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

/* Can interrupt anything, so it uses only system calls and atomics. */
static void on_expiry(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  struct guard *guard = info->si_value.sival_ptr;
  if (info->si_code != SI_TIMER || guard < guards || guard >= guards + GUARDS) return;
  if (!atomic_load(&guard->is_open)) return;
  int saved = errno;
  int port = atomic_load(&guard->port);
  unsigned int cut = 0;
  for (int fd = 0; port != 0 && fd < descriptors; fd++) {
    if (local_port(fd) != port) continue;
    if (socket_option(fd, SO_PROTOCOL) != IPPROTO_TCP || socket_option(fd, SO_ACCEPTCONN) != 0) continue;
    /* Bytes already written are with the kernel and count as sent; later writes fail. */
    if (shutdown(fd, SHUT_RDWR) == 0) cut++;
  }
  atomic_fetch_add(&guard->cut, cut);
  atomic_fetch_add(&guard->firings, 1);
  errno = saved;
}

/* Reserves an unused real-time signal, once. Returns 0 or an errno. */
static int take_signal(void) {
  if (guard_signal != 0) return 0;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return errno;
  descriptors = limit.rlim_cur < DESCRIPTORS_MOST ? (int)limit.rlim_cur : DESCRIPTORS_MOST;
  struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART, .sa_sigaction = on_expiry};
  sigfillset(&action.sa_mask);
  for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
    struct sigaction present;
    if (sigaction(number, NULL, &present) != 0) return errno;
    if ((present.sa_flags & SA_SIGINFO) != 0 || present.sa_handler != SIG_DFL) continue;
    if (sigaction(number, &action, NULL) != 0) return errno;
    guard_signal = number;
    return 0;
  }
  return EBUSY;
}

static napi_value fail(napi_env env, int error) {
  napi_throw_error(env, NULL, strerror(error));
  return NULL;
}

/* Parses numeric arguments, the first of which is the index of an open guard. Returns NULL after throwing an error. */
static struct guard *arguments(napi_env env, napi_callback_info info, size_t count, double *rest) {
  napi_value values[2];
  size_t given = count;
  double index = -1;
  if (napi_get_cb_info(env, info, &given, values, NULL, NULL) != napi_ok || given < count ||
      napi_get_value_double(env, values[0], &index) != napi_ok || !(index >= 0 && index < GUARDS) ||
      !atomic_load(&guards[(int)index].is_open) ||
      (count > 1 && (napi_get_value_double(env, values[1], rest) != napi_ok || !(*rest >= 0 && *rest < MOST)))) {
    fail(env, EINVAL);
    return NULL;
  }
  return &guards[(int)index];
}

static napi_value number(napi_env env, double value) {
  napi_value result = NULL;
  napi_create_double(env, value, &result);
  return result;
}

/* open(): returns the index of a new guard for the calling thread, which must be the one that writes to sockets. */
static napi_value open_guard(napi_env env, napi_callback_info info) {
  (void)info;
  int error = take_signal();
  if (error != 0) return fail(env, error);
  int index = 0;
  while (index < GUARDS && atomic_load(&guards[index].is_open)) index++;
  if (index == GUARDS) return fail(env, EAGAIN);
  struct guard *guard = &guards[index];
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = guard_signal};
  event.sigev_value.sival_ptr = guard;
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  if (timer_create(CLOCK_BOOTTIME, &event, &guard->timer) != 0) return fail(env, errno);
  sigset_t ours;
  sigemptyset(&ours);
  sigaddset(&ours, guard_signal);
  error = pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
  if (error != 0) return fail(env, error);
  atomic_store(&guard->port, 0);
  atomic_store(&guard->firings, 0);
  atomic_store(&guard->cut, 0);
  atomic_store(&guard->is_open, 1);
  return number(env, index);
}

/* protect(guard, port): sets the local port whose connections the guard cuts. */
static napi_value protect(napi_env env, napi_callback_info info) {
  double port;
  struct guard *guard = arguments(env, info, 2, &port);
  if (guard != NULL) atomic_store(&guard->port, htons((uint16_t)port));
  return NULL;
}

/* now(): returns the milliseconds since the machine started, including time asleep. */
static napi_value now(napi_env env, napi_callback_info info) {
  (void)info;
  struct timespec time;
  if (clock_gettime(CLOCK_BOOTTIME, &time) != 0) return fail(env, errno);
  return number(env, (double)time.tv_sec * MS_PER_S + (double)time.tv_nsec / NS_PER_MS);
}

/* Uses absolute time, so that a process that is suspended on the way here gains no time. */
static napi_value set(napi_env env, struct guard *guard, double at_ms) {
  struct itimerspec when = {0};
  when.it_value.tv_sec = (time_t)(at_ms / MS_PER_S);
  when.it_value.tv_nsec = (long)((at_ms - (double)when.it_value.tv_sec * MS_PER_S) * NS_PER_MS);
  return timer_settime(guard->timer, TIMER_ABSTIME, &when, NULL) == 0 ? NULL : fail(env, errno);
}

/* arm(guard, at): makes the guard fire at this time on the clock of now(), replacing an earlier setting. */
static napi_value arm(napi_env env, napi_callback_info info) {
  double at_ms;
  struct guard *guard = arguments(env, info, 2, &at_ms);
  return guard == NULL ? NULL : set(env, guard, at_ms);
}

static napi_value disarm(napi_env env, napi_callback_info info) {
  struct guard *guard = arguments(env, info, 1, NULL);
  return guard == NULL ? NULL : set(env, guard, 0);
}

/* firings(guard), cut(guard): return how often the guard fired, and how many connections it cut. */
static napi_value firings(napi_env env, napi_callback_info info) {
  struct guard *guard = arguments(env, info, 1, NULL);
  return guard == NULL ? NULL : number(env, atomic_load(&guard->firings));
}

static napi_value cut(napi_env env, napi_callback_info info) {
  struct guard *guard = arguments(env, info, 1, NULL);
  return guard == NULL ? NULL : number(env, atomic_load(&guard->cut));
}

static napi_value close_guard(napi_env env, napi_callback_info info) {
  struct guard *guard = arguments(env, info, 1, NULL);
  if (guard == NULL) return NULL;
  timer_delete(guard->timer);
  atomic_store(&guard->is_open, 0);
  return NULL;
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"open", NULL, open_guard, NULL, NULL, NULL, napi_enumerable, NULL},
      {"protect", NULL, protect, NULL, NULL, NULL, napi_enumerable, NULL},
      {"now", NULL, now, NULL, NULL, NULL, napi_enumerable, NULL},
      {"arm", NULL, arm, NULL, NULL, NULL, napi_enumerable, NULL},
      {"disarm", NULL, disarm, NULL, NULL, NULL, napi_enumerable, NULL},
      {"firings", NULL, firings, NULL, NULL, NULL, napi_enumerable, NULL},
      {"cut", NULL, cut, NULL, NULL, NULL, napi_enumerable, NULL},
      {"close", NULL, close_guard, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  size_t count = sizeof functions / sizeof functions[0];
  if (napi_define_properties(env, exports, count, functions) != napi_ok) return NULL;
  return exports;
}
