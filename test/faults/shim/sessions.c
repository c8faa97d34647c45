/* Tracks this process's sessions, with each session's slot and vendor emulation state. */
/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <pthread.h>
#include <stdlib.h>

#define MOST_SESSIONS 1024

static struct shim_session sessions[MOST_SESSIONS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct shim_session *find(CK_SESSION_HANDLE handle) {
  for (int i = 0; i < MOST_SESSIONS; i++)
    if (sessions[i].handle == handle) return &sessions[i];
  return NULL;
}

static void count(void) {
  uint32_t open = 0;
  for (int i = 0; i < MOST_SESSIONS; i++) open += sessions[i].handle != 0;
  shim_self->sessions = open;
  if (open > shim_self->most_sessions) shim_self->most_sessions = open;
}

void shim_opened(CK_SESSION_HANDLE handle, CK_SLOT_ID slot) {
  pthread_mutex_lock(&mutex);
  struct shim_session *place = find(0);
  if (place != NULL) {
    free(place->aad);
    *place = (struct shim_session){.handle = handle, .slot = slot};
  }
  count();
  pthread_mutex_unlock(&mutex);
}

void shim_closed(CK_SESSION_HANDLE handle) {
  pthread_mutex_lock(&mutex);
  struct shim_session *place = handle == 0 ? NULL : find(handle);
  if (place != NULL) place->handle = 0;
  count();
  pthread_mutex_unlock(&mutex);
}

void shim_closed_all(const CK_SLOT_ID *slot) {
  pthread_mutex_lock(&mutex);
  for (int i = 0; i < MOST_SESSIONS; i++)
    if (slot == NULL || sessions[i].slot == *slot) sessions[i].handle = 0;
  count();
  pthread_mutex_unlock(&mutex);
}

void shim_drop_all(void) {
  for (int i = 0; i < MOST_SESSIONS; i++) {
    if (sessions[i].handle == 0) continue;
    CK_SLOT_ID slot = sessions[i].slot;
    shim_real->C_CloseAllSessions(slot);
    shim_closed_all(&slot);
  }
}

struct shim_session *shim_session(CK_SESSION_HANDLE handle) {
  pthread_mutex_lock(&mutex);
  struct shim_session *place = handle == 0 ? NULL : find(handle);
  pthread_mutex_unlock(&mutex);
  return place;
}
