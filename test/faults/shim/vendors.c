/*
 * Emulates how real HSMs return an IV that they generate: after the ciphertext (Thales Luna in FIPS mode), in the
 * caller's buffer (AWS CloudHSM), or before the ciphertext (CloudHSM's own mechanism). The IV comes from the real
 * module's C_GenerateRandom.
 */
/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

#include <stdlib.h>
#include <string.h>

#define TAG_BYTES 16
#define IV_BYTES 12
static const unsigned char ZEROS[IV_BYTES];

static int is_vendor(uint32_t vendor) { return shim_shared->vendor == vendor; }

/* Returns the parameters if the emulated vendor gives them a special meaning; otherwise null. */
static const CK_GCM_PARAMS *parameters(CK_MECHANISM_PTR mechanism) {
  if (is_vendor(VENDOR_NONE) || mechanism == NULL || mechanism->pParameter == NULL) return NULL;
  int is_own = mechanism->mechanism == SHIM_CLOUDHSM_AES_GCM && is_vendor(VENDOR_CLOUDHSM);
  return mechanism->mechanism == CKM_AES_GCM || is_own ? mechanism->pParameter : NULL;
}

/* Returns the length of the IV to generate, or 0 if the vendor rejects the parameters. */
static unsigned long iv_length(const CK_GCM_PARAMS *given, CK_MECHANISM_TYPE mechanism) {
  int is_none = given->pIv == NULL && given->ulIvLen == 0;
  if (mechanism == SHIM_CLOUDHSM_AES_GCM) return is_none ? IV_BYTES : 0;
  if (is_vendor(VENDOR_LUNA)) return is_none ? 16 : 0;
  if (is_vendor(VENDOR_LUNA_7_9_3)) {
    if (!is_none) return 0;
    return given->ulIvBits == 96 ? 12 : given->ulIvBits == 0 || given->ulIvBits == 128 ? 16 : 0;
  }
  int is_zero = given->ulIvLen == IV_BYTES && memcmp(given->pIv, ZEROS, IV_BYTES) == 0;
  return is_zero ? IV_BYTES : 0;
}

static CK_MECHANISM with_iv(CK_GCM_PARAMS *own, unsigned char *iv, unsigned long bytes) {
  own->pIv = iv;
  own->ulIvLen = bytes;
  own->ulIvBits = bytes * 8;
  return (CK_MECHANISM){CKM_AES_GCM, own, sizeof *own};
}

CK_RV shim_encrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  const CK_GCM_PARAMS *given = parameters(mechanism);
  if (given == NULL) return shim_real->C_EncryptInit(handle, mechanism, key);
  struct shim_session *session = shim_session(handle);
  if (session == NULL) return CKR_SESSION_HANDLE_INVALID;
  unsigned long bytes = iv_length(given, mechanism->mechanism);
  if (bytes == 0) return CKR_MECHANISM_PARAM_INVALID;
  CK_RV rv = shim_real->C_GenerateRandom(handle, session->iv, bytes);
  if (rv != CKR_OK) return rv;
  session->iv_bytes = bytes;
  session->is_prefixed = mechanism->mechanism == SHIM_CLOUDHSM_AES_GCM;
  session->write_to = is_vendor(VENDOR_CLOUDHSM) && !session->is_prefixed ? given->pIv : NULL;
  CK_GCM_PARAMS own = *given;
  CK_MECHANISM ours = with_iv(&own, session->iv, bytes);
  rv = shim_real->C_EncryptInit(handle, &ours, key);
  session->encrypts = rv == CKR_OK;
  return rv;
}

CK_RV shim_encrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len) {
  struct shim_session *session = shim_session(handle);
  if (session == NULL || !session->encrypts)
    return shim_real->C_Encrypt(handle, data, data_len, out, out_len);
  unsigned long extra = session->write_to == NULL ? session->iv_bytes : 0;
  unsigned long needed = data_len + TAG_BYTES + extra;
  if (out == NULL || *out_len < needed) {
    *out_len = needed;
    return out == NULL ? CKR_OK : CKR_BUFFER_TOO_SMALL;
  }
  *out_len -= extra;
  unsigned char *sealed = session->is_prefixed ? out + extra : out;
  CK_RV rv = shim_real->C_Encrypt(handle, data, data_len, sealed, out_len);
  session->encrypts = 0;
  if (rv != CKR_OK) return rv;
  unsigned char *target = session->write_to != NULL  ? session->write_to
                          : session->is_prefixed     ? out
                                                     : out + *out_len;
  memcpy(target, session->iv, session->iv_bytes);
  *out_len += extra;
  return rv;
}

/* Stores the parameters until the ciphertext, which contains the IV, arrives. */
CK_RV shim_decrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  const CK_GCM_PARAMS *given = parameters(mechanism);
  if (given == NULL || mechanism->mechanism == CKM_AES_GCM)
    return shim_real->C_DecryptInit(handle, mechanism, key);
  struct shim_session *session = shim_session(handle);
  if (session == NULL) return CKR_SESSION_HANDLE_INVALID;
  if (given->pIv != NULL || given->ulIvLen != 0) return CKR_MECHANISM_PARAM_INVALID;
  free(session->aad);
  session->aad = malloc(given->ulAADLen + 1);
  if (session->aad == NULL) return CKR_HOST_MEMORY;
  memcpy(session->aad, given->pAAD, given->ulAADLen);
  session->kept = *given;
  session->kept.pAAD = session->aad;
  session->key = key;
  session->decrypts = 1;
  return CKR_OK;
}

CK_RV shim_decrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len) {
  struct shim_session *session = shim_session(handle);
  if (session == NULL || !session->decrypts)
    return shim_real->C_Decrypt(handle, data, data_len, out, out_len);
  session->decrypts = 0;
  if (data_len < IV_BYTES) return CKR_ENCRYPTED_DATA_LEN_RANGE;
  CK_MECHANISM ours = with_iv(&session->kept, data, IV_BYTES);
  CK_RV rv = shim_real->C_DecryptInit(handle, &ours, session->key);
  if (rv != CKR_OK) return rv;
  return shim_real->C_Decrypt(handle, data + IV_BYTES, data_len - IV_BYTES, out, out_len);
}

/* Appends the vendor's mechanism to the real module's list. */
CK_RV shim_mechanisms(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count) {
  CK_ULONG extra = is_vendor(VENDOR_CLOUDHSM) ? 1 : 0;
  CK_ULONG room = *count;
  if (list != NULL && room < extra) return CKR_BUFFER_TOO_SMALL;
  if (list != NULL) *count = room - extra;
  CK_RV rv = shim_real->C_GetMechanismList(slot, list, count);
  if (rv == CKR_OK && list != NULL && extra == 1) list[*count] = SHIM_CLOUDHSM_AES_GCM;
  *count += extra;
  return rv;
}
