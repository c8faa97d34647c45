/*
 * The sessions of this process, and the two ways in which real HSMs hand out an IV of their own:
 * appended to the ciphertext (Thales Luna in FIPS mode) or written into the caller's buffer (AWS
 * CloudHSM). The IV comes from the real module's C_GenerateRandom.
 */
/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <pthread.h>
#include <string.h>

#define MOST_SESSIONS 1024
#define TAG_BYTES 16
#define ZEROS "\0\0\0\0\0\0\0\0\0\0\0"

struct session {
  CK_SESSION_HANDLE handle; /* 0: free */
  CK_SLOT_ID slot;
  int has_iv; /* an encryption with an IV of ours is active */
  unsigned char iv[16];
  unsigned long iv_bytes;
  unsigned char *write_to; /* CloudHSM: the caller's pIv */
};

static struct session sessions[MOST_SESSIONS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static struct session *find(CK_SESSION_HANDLE handle) {
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
  struct session *place = find(0);
  if (place != NULL) *place = (struct session){.handle = handle, .slot = slot};
  count();
  pthread_mutex_unlock(&mutex);
}

void shim_closed(CK_SESSION_HANDLE handle) {
  pthread_mutex_lock(&mutex);
  struct session *place = handle == 0 ? NULL : find(handle);
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

/* The length of the IV that the pretended vendor makes, or 0 when it refuses these parameters. */
static unsigned long iv_length(const CK_GCM_PARAMS *given) {
  switch (shim_shared->vendor) {
  case VENDOR_LUNA:
    return given->ulIvLen == 0 ? 16 : 0;
  case VENDOR_LUNA_7_9_3:
    if (given->ulIvLen != 0) return 0;
    return given->ulIvBits == 96 ? 12 : given->ulIvBits == 0 || given->ulIvBits == 128 ? 16 : 0;
  default:
    return given->pIv != NULL && given->ulIvLen == 12 && memcmp(given->pIv, ZEROS, 12) == 0 ? 12 : 0;
  }
}

CK_RV shim_encrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  const CK_GCM_PARAMS *given = mechanism == NULL ? NULL : mechanism->pParameter;
  if (shim_shared->vendor == VENDOR_NONE || given == NULL || mechanism->mechanism != CKM_AES_GCM)
    return shim_real->C_EncryptInit(handle, mechanism, key);
  pthread_mutex_lock(&mutex);
  struct session *session = find(handle);
  pthread_mutex_unlock(&mutex);
  if (session == NULL) return CKR_SESSION_HANDLE_INVALID;
  unsigned long length = iv_length(given);
  if (length == 0) return CKR_MECHANISM_PARAM_INVALID;
  CK_RV rv = shim_real->C_GenerateRandom(handle, session->iv, length);
  if (rv != CKR_OK) return rv;
  session->iv_bytes = length;
  session->write_to = shim_shared->vendor == VENDOR_CLOUDHSM ? given->pIv : NULL;
  CK_GCM_PARAMS own = *given;
  own.pIv = session->iv;
  own.ulIvLen = length;
  own.ulIvBits = length * 8;
  CK_MECHANISM with_own_iv = {mechanism->mechanism, &own, sizeof own};
  rv = shim_real->C_EncryptInit(handle, &with_own_iv, key);
  session->has_iv = rv == CKR_OK;
  return rv;
}

CK_RV shim_encrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len) {
  pthread_mutex_lock(&mutex);
  struct session *session = find(handle);
  pthread_mutex_unlock(&mutex);
  if (session == NULL || !session->has_iv)
    return shim_real->C_Encrypt(handle, data, data_len, out, out_len);
  unsigned long appended = session->write_to == NULL ? session->iv_bytes : 0;
  unsigned long needed = data_len + TAG_BYTES + appended;
  if (out == NULL || *out_len < needed) {
    *out_len = needed;
    return out == NULL ? CKR_OK : CKR_BUFFER_TOO_SMALL;
  }
  *out_len -= appended;
  CK_RV rv = shim_real->C_Encrypt(handle, data, data_len, out, out_len);
  session->has_iv = 0;
  if (rv != CKR_OK) return rv;
  if (session->write_to != NULL) memcpy(session->write_to, session->iv, session->iv_bytes);
  else memcpy(out + *out_len, session->iv, appended);
  *out_len += appended;
  return rv;
}
