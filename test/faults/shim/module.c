/*
 * A PKCS#11 test module that wraps a real one: it forwards calls, and injects the faults requested in the control file.
 * LATCHKEY_FAULT_MODULE names the real module, and LATCHKEY_FAULT_CONTROL the control file. See control.h.
 */
/* SPDX-License-Identifier: Apache-2.0 */
#include "control.h"

enum {
#define PASS(name, parameters, arguments) AT_##name,
#define OWN(name) AT_##name,
#include "functions.h"
#undef PASS
#undef OWN
  FUNCTIONS
};
_Static_assert(FUNCTIONS <= SHIM_FUNCTIONS, "the control file has room for every function");

#define PASS(name, parameters, arguments)                    \
  static CK_RV shim_##name parameters {                      \
    CK_RV rv = shim_begin(AT_##name);                        \
    if (rv == SHIM_PASS) rv = shim_real->name arguments;     \
    return shim_end(AT_##name, rv);                          \
  }
#define OWN(name)
#include "functions.h"
#undef PASS
#undef OWN

static CK_RV shim_C_Initialize(void *arguments) {
  CK_RV rv = shim_begin(AT_C_Initialize);
  const CK_C_INITIALIZE_ARGS *given = arguments;
  shim_self->initialize_flags = given == NULL ? SHIM_ALWAYS : (uint32_t)given->flags;
  if (rv == SHIM_PASS) rv = shim_real->C_Initialize(arguments);
  if (rv == CKR_OK) shim_self->initialized += 1;
  return shim_end(AT_C_Initialize, rv);
}

static CK_RV shim_C_Finalize(void *reserved) {
  CK_RV rv = shim_begin(AT_C_Finalize);
  if (rv == SHIM_PASS) {
    rv = shim_real->C_Finalize(reserved);
    if (rv == CKR_OK) shim_closed_all(NULL);
  }
  return shim_end(AT_C_Finalize, rv);
}

static CK_RV shim_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                                CK_SESSION_HANDLE *session) {
  shim_turn_to(slot);
  CK_RV rv = shim_begin(AT_C_OpenSession);
  if (rv == SHIM_PASS) rv = shim_admit_session();
  if (rv == SHIM_PASS) {
    rv = shim_real->C_OpenSession(slot, flags, application, notify, session);
    if (rv == CKR_OK) shim_opened(*session, slot);
  }
  return shim_end(AT_C_OpenSession, rv);
}

static CK_RV shim_C_CloseSession(CK_SESSION_HANDLE session) {
  CK_RV rv = shim_begin(AT_C_CloseSession);
  if (rv == SHIM_PASS) {
    rv = shim_real->C_CloseSession(session);
    if (rv == CKR_OK) shim_closed(session);
  }
  return shim_end(AT_C_CloseSession, rv);
}

static CK_RV shim_C_CloseAllSessions(CK_SLOT_ID slot) {
  CK_RV rv = shim_begin(AT_C_CloseAllSessions);
  if (rv == SHIM_PASS) {
    rv = shim_real->C_CloseAllSessions(slot);
    if (rv == CKR_OK) shim_closed_all(&slot);
  }
  return shim_end(AT_C_CloseAllSessions, rv);
}

static CK_RV shim_C_EncryptInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism,
                                CK_OBJECT_HANDLE key) {
  CK_RV rv = shim_begin(AT_C_EncryptInit);
  if (rv == SHIM_PASS) rv = shim_encrypt_init(session, mechanism, key);
  return shim_end(AT_C_EncryptInit, rv);
}

static CK_RV shim_C_Encrypt(CK_SESSION_HANDLE session, unsigned char *data, unsigned long data_len,
                            unsigned char *out, unsigned long *out_len) {
  CK_RV rv = shim_begin(AT_C_Encrypt);
  if (rv == SHIM_PASS) rv = shim_encrypt(session, data, data_len, out, out_len);
  return shim_end(AT_C_Encrypt, rv);
}

static CK_RV shim_C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism,
                                CK_OBJECT_HANDLE key) {
  CK_RV rv = shim_begin(AT_C_DecryptInit);
  if (rv == SHIM_PASS) rv = shim_decrypt_init(session, mechanism, key);
  return shim_end(AT_C_DecryptInit, rv);
}

static CK_RV shim_C_Decrypt(CK_SESSION_HANDLE session, unsigned char *data, unsigned long data_len,
                            unsigned char *out, unsigned long *out_len) {
  CK_RV rv = shim_begin(AT_C_Decrypt);
  if (rv == SHIM_PASS) rv = shim_decrypt(session, data, data_len, out, out_len);
  return shim_end(AT_C_Decrypt, rv);
}

static CK_RV shim_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count) {
  CK_RV rv = shim_begin(AT_C_GetMechanismList);
  if (rv == SHIM_PASS) rv = shim_mechanisms(slot, list, count);
  return shim_end(AT_C_GetMechanismList, rv);
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list);

static CK_FUNCTION_LIST table = {
    .version = {2, 40},
#define shim_C_GetFunctionList C_GetFunctionList
#define PASS(name, parameters, arguments) .name = shim_##name,
#define OWN(name) .name = shim_##name,
#include "functions.h"
#undef PASS
#undef OWN
};

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
  CK_RV rv = shim_load();
  if (rv != CKR_OK) return rv;
  table.version = shim_real->version;
  *list = &table;
  return CKR_OK;
}
