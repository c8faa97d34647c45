/*
 * Verifies the codes of many sealed rows in one call from JavaScript. A code is an HMAC-SHA-512, which OpenSSL computes: the
 * OpenSSL that Node.js contains and exports to add-ons. TypeScript decides which bytes of a row are authenticated, and what a
 * row that does not verify means.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define NAPI_VERSION 8

#include <node_api.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdbool.h>
#include <string.h>

enum {
  CODE_BYTES = 64,
  /* The first half of a code is the row's MAC, and the second half its element. */
  ELEMENT_BYTES = 32,
  /* Characters of a MAC in Base64, without the final NUL. */
  MAC_CHARACTERS = 44,
  MAX_KEYS = 2,
};

struct bytes {
  uint8_t *at;
  size_t length;
};

static napi_value fail(napi_env env, const char *message) {
  napi_throw_error(env, NULL, message);
  return NULL;
}

static bool to_bytes(napi_env env, napi_value value, struct bytes *bytes) {
  return napi_get_buffer_info(env, value, (void **)&bytes->at, &bytes->length) == napi_ok;
}

/* EVP_MAC_CTX_free overwrites the key. */
static void free_key(napi_env env, void *context, void *hint) {
  (void)env;
  (void)hint;
  EVP_MAC_CTX_free(context);
}

/*
 * createKey(bytes): copies an HMAC key. Garbage collection of the result, or the end of the worker thread, overwrites the copy.
 * process.exit on the main thread does not.
 */
static napi_value create_key(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value given, result;
  struct bytes key;
  if (napi_get_cb_info(env, info, &count, &given, NULL, NULL) != napi_ok || count != 1 || !to_bytes(env, given, &key))
    return fail(env, "createKey expects a buffer");
  char digest[] = "SHA512";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  EVP_MAC_CTX *context = mac == NULL ? NULL : EVP_MAC_CTX_new(mac);
  EVP_MAC_free(mac);
  if (context == NULL || EVP_MAC_init(context, key.at, key.length, parameters) != 1 ||
      EVP_MAC_CTX_get_mac_size(context) != CODE_BYTES) {
    EVP_MAC_CTX_free(context);
    return fail(env, "HMAC-SHA-512 is not available");
  }
  if (napi_create_external(env, context, free_key, NULL, &result) != napi_ok) {
    EVP_MAC_CTX_free(context);
    return fail(env, "out of memory");
  }
  return result;
}

/* Without a key, EVP_MAC_init begins again with the key that the context has. */
static bool compute(EVP_MAC_CTX *key, const struct bytes *row, uint8_t code[CODE_BYTES]) {
  size_t length;
  return EVP_MAC_init(key, NULL, 0, NULL) == 1 && EVP_MAC_update(key, row->at, row->length) == 1 &&
         EVP_MAC_final(key, code, &length, CODE_BYTES) == 1 && length == CODE_BYTES;
}

static bool has_mac(const uint8_t code[CODE_BYTES], const uint8_t *mac) {
  uint8_t expected[MAC_CHARACTERS + 1];
  EVP_EncodeBlock(expected, code, CODE_BYTES - ELEMENT_BYTES);
  bool is_equal = CRYPTO_memcmp(expected, mac, MAC_CHARACTERS) == 0;
  OPENSSL_cleanse(expected, sizeof expected);
  return is_equal;
}

/* Adds a big-endian number to another one, modulo 2^256. */
static void add(uint8_t sum[ELEMENT_BYTES], const uint8_t element[ELEMENT_BYTES]) {
  unsigned carry = 0;
  for (int i = ELEMENT_BYTES - 1; i >= 0; i -= 1) {
    carry += (unsigned)sum[i] + element[i];
    sum[i] = (uint8_t)carry;
    carry >>= 8;
  }
}

/*
 * verify(first, second, rows, ends, elements, sum): verifies rows with one of one or two keys; `second` may be undefined.
 * `rows` contains the bytes of each row, each followed by the characters of its MAC, and `ends` is an Uint32Array with the
 * offset at which each row ends. Writes the element of each row to `elements`, and adds it to `sum`. Returns the number of
 * rows before the first one that does not verify.
 */
static napi_value verify(napi_env env, napi_callback_info info) {
  enum { FIRST, SECOND, ROWS, ENDS, ELEMENTS, SUM, ARGUMENTS };
  napi_value given[ARGUMENTS], result;
  size_t count = ARGUMENTS, rows_count, verified = 0;
  EVP_MAC_CTX *keys[MAX_KEYS] = {NULL, NULL};
  struct bytes rows, elements, sum;
  napi_valuetype type;
  napi_typedarray_type array;
  uint32_t *ends;
  if (napi_get_cb_info(env, info, &count, given, NULL, NULL) != napi_ok || count != ARGUMENTS ||
      napi_get_value_external(env, given[FIRST], (void **)&keys[0]) != napi_ok ||
      napi_typeof(env, given[SECOND], &type) != napi_ok ||
      (type != napi_undefined && napi_get_value_external(env, given[SECOND], (void **)&keys[1]) != napi_ok) ||
      !to_bytes(env, given[ROWS], &rows) ||
      napi_get_typedarray_info(env, given[ENDS], &array, &rows_count, (void **)&ends, NULL, NULL) != napi_ok ||
      array != napi_uint32_array || !to_bytes(env, given[ELEMENTS], &elements) || !to_bytes(env, given[SUM], &sum) ||
      elements.length / ELEMENT_BYTES < rows_count || sum.length != ELEMENT_BYTES)
    return fail(env, "verify expects one or two keys, rows, their ends, and room for elements and their sum");
  uint8_t code[CODE_BYTES];
  const char *failure = NULL;
  size_t at = 0;
  for (; verified < rows_count; verified += 1) {
    size_t end = ends[verified];
    if (end > rows.length || end < at || end - at < MAC_CHARACTERS) {
      failure = "a row ends outside of the buffer";
      break;
    }
    struct bytes row = {rows.at + at, end - at - MAC_CHARACTERS};
    const uint8_t *mac = row.at + row.length;
    bool is_authentic = false;
    for (size_t i = 0; i < MAX_KEYS && keys[i] != NULL && !is_authentic && failure == NULL; i += 1) {
      if (compute(keys[i], &row, code))
        is_authentic = has_mac(code, mac);
      else
        failure = "HMAC-SHA-512 failed";
    }
    if (!is_authentic) break;
    memcpy(elements.at + verified * ELEMENT_BYTES, code + CODE_BYTES - ELEMENT_BYTES, ELEMENT_BYTES);
    add(sum.at, code + CODE_BYTES - ELEMENT_BYTES);
    at = end;
  }
  OPENSSL_cleanse(code, sizeof code);
  if (failure != NULL) return fail(env, failure);
  return napi_create_uint32(env, (uint32_t)verified, &result) == napi_ok ? result : fail(env, "out of memory");
}

NAPI_MODULE_INIT() {
  const napi_property_descriptor functions[] = {
      {"createKey", NULL, create_key, NULL, NULL, NULL, napi_enumerable, NULL},
      {"verify", NULL, verify, NULL, NULL, NULL, napi_enumerable, NULL},
  };
  size_t count = sizeof functions / sizeof functions[0];
  if (napi_define_properties(env, exports, count, functions) != napi_ok) return NULL;
  return exports;
}
