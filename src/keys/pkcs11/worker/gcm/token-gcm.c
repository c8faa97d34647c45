/*
 * Runs one AES-GCM operation of a PKCS#11 module in one call from JavaScript: C_EncryptInit and C_Encrypt, or
 * C_DecryptInit and C_Decrypt. pkcs11js needs two calls for that, and builds the mechanism from objects each time. This
 * file only passes bytes on: TypeScript decides which session and key to use, how large a buffer has to be, and what to
 * do after a failure.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define NAPI_VERSION 8
#include <dlfcn.h>
#include <limits.h>
#include <node_api.h>
#include <pkcs11/pkcs11.h>
#include <stdbool.h>
#include <string.h>

/* Subtracted from the result if the second call failed. */
#define SECOND_CALL 4294967296.0
/* A larger return code is reported as CKR_VENDOR_DEFINED. PKCS #11 has none, but a CK_RV can have 64 bits. */
#define HIGHEST_CODE 0xffffffffUL
#define TAG_BITS 128

struct bytes {
  CK_BYTE *at;
  size_t length;
};

/* Modules that get NULL for empty input refuse it or crash, so empty input points here. */
static CK_BYTE nothing[1];

static napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message);
  return NULL;
}

static bool to_bytes(napi_env env, napi_value value, struct bytes *bytes) {
  if (napi_get_buffer_info(env, value, (void **)&bytes->at, &bytes->length) != napi_ok) return false;
  if (bytes->length == 0) bytes->at = nothing;
  return true;
}

/* Reads a session or object handle in the form that pkcs11js returns: the bytes of a CK_ULONG. */
static bool to_handle(napi_env env, napi_value value, CK_ULONG *handle) {
  struct bytes bytes;
  if (!to_bytes(env, value, &bytes) || bytes.length != sizeof *handle) return false;
  memcpy(handle, bytes.at, sizeof *handle);
  return true;
}

/*
 * load(path): returns the function list of a module. pkcs11js has loaded the module before, with the same path and the same
 * flags, so this is the same library. Throws if the library returns a different list for each call, as p11-kit-proxy
 * does: such a list has sessions of its own, and does not know those that pkcs11js opened.
 */
static napi_value load(napi_env env, napi_callback_info info) {
  char path[PATH_MAX];
  size_t count = 1, length;
  napi_value argument, result;
  if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count != 1 ||
      napi_get_value_string_utf8(env, argument, path, sizeof path, &length) != napi_ok || length + 1 >= sizeof path)
    return fail(env, "load expects a path");
  void *module = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
  if (module == NULL) return fail(env, "the module cannot be loaded");
  CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
  CK_FUNCTION_LIST_PTR list = NULL, again = NULL;
  if (get == NULL || get(&list) != CKR_OK || list == NULL) return fail(env, "the module has no function list");
  if (get(&again) != CKR_OK || again != list) return fail(env, "the module has a function list for each caller");
  if (napi_create_external(env, list, NULL, NULL, &result) != napi_ok) return fail(env, "out of memory");
  return result;
}

/*
 * run(list, encrypts, mechanism, session, key, iv, ivBits, aad, input, output, room): writes the result to `output` and
 * returns its length in bytes. The module is told that `output` has `room` bytes. A failure is a negative number: the
 * return code, negated, minus SECOND_CALL if the second call failed. An empty `iv` is passed as NULL, which makes some
 * tokens generate the IV. A module may write into `iv` and `output` until this function returns.
 */
static napi_value run(napi_env env, napi_callback_info info) {
  enum { LIST, ENCRYPTS, MECHANISM, SESSION, KEY, IV, IV_BITS, AAD, INPUT, OUTPUT, ROOM, ARGUMENTS };
  napi_value given[ARGUMENTS], result;
  size_t count = ARGUMENTS;
  void *external = NULL;
  bool encrypts;
  uint32_t type, iv_bits, room;
  CK_ULONG session, key;
  struct bytes iv, aad, input, output;
  if (napi_get_cb_info(env, info, &count, given, NULL, NULL) != napi_ok || count != ARGUMENTS ||
      napi_get_value_external(env, given[LIST], &external) != napi_ok || external == NULL ||
      napi_get_value_bool(env, given[ENCRYPTS], &encrypts) != napi_ok ||
      napi_get_value_uint32(env, given[MECHANISM], &type) != napi_ok ||
      !to_handle(env, given[SESSION], &session) || !to_handle(env, given[KEY], &key) ||
      !to_bytes(env, given[IV], &iv) || napi_get_value_uint32(env, given[IV_BITS], &iv_bits) != napi_ok ||
      !to_bytes(env, given[AAD], &aad) || !to_bytes(env, given[INPUT], &input) ||
      !to_bytes(env, given[OUTPUT], &output) || napi_get_value_uint32(env, given[ROOM], &room) != napi_ok ||
      room > output.length)
    return fail(env, "run expects a function list, a flag, a mechanism, two handles, buffers and their sizes");
  CK_FUNCTION_LIST_PTR list = external;
  CK_GCM_PARAMS parameter = {
      .pIv = iv.length == 0 ? NULL : iv.at,
      .ulIvLen = iv.length,
      .ulIvBits = iv_bits,
      .pAAD = aad.at,
      .ulAADLen = aad.length,
      .ulTagBits = TAG_BITS,
  };
  CK_MECHANISM mechanism = {type, &parameter, sizeof parameter};
  CK_ULONG length = room;
  double offset = 0;
  CK_RV code = encrypts ? list->C_EncryptInit(session, &mechanism, key) : list->C_DecryptInit(session, &mechanism, key);
  if (code == CKR_OK) {
    offset = SECOND_CALL;
    code = encrypts ? list->C_Encrypt(session, input.at, input.length, output.at, &length)
                    : list->C_Decrypt(session, input.at, input.length, output.at, &length);
  }
  if (code > HIGHEST_CODE) code = CKR_VENDOR_DEFINED;
  double outcome = code == CKR_OK ? (double)length : -offset - (double)code;
  return napi_create_double(env, outcome, &result) == napi_ok ? result : fail(env, "out of memory");
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"load", NULL, load, NULL, NULL, NULL, napi_enumerable, NULL},
      {"run", NULL, run, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  size_t count = sizeof functions / sizeof functions[0];
  if (napi_define_properties(env, exports, count, functions) != napi_ok) return NULL;
  return exports;
}
