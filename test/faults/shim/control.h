/*
 * The control file, shared by the fault module and the test that controls it. Every process that loads the module maps
 * the file, and the test writes to it in place. ../../support/pkcs11/fault-control.ts has the same layout. All numbers
 * are 32 bits wide, in native byte order.
 */
/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LATCHKEY_FAULT_CONTROL_H
#define LATCHKEY_FAULT_CONTROL_H

#include <p11-kit/pkcs11.h>
#include <stdint.h>

#define SHIM_MAGIC 0x31534b4cu /* "LKS1" */
#define SHIM_FUNCTIONS 72
#define SHIM_PROCESSES 64
#define SHIM_LOG 8192
#define SHIM_ALWAYS 0xffffffffu

/* Faults to inject into one function. The test writes them; the module counts `remaining` down. */
struct shim_plan {
  uint32_t latency_us;
  uint32_t hang;      /* 0: no hang; SHIM_ALWAYS: hangs while set; otherwise the duration in milliseconds */
  uint32_t rv;        /* error code to return, `remaining` times */
  uint32_t crash;     /* signal to raise instead of returning, `remaining` times */
  uint32_t ppm;       /* faults per million calls; 0: every call */
  uint32_t after;     /* 1: calls the real module first, and discards its result */
  uint32_t remaining; /* number of faults left; SHIM_ALWAYS: unlimited */
  uint32_t spare;
};

struct shim_count {
  uint32_t calls;
  uint32_t failed;   /* calls that returned an error */
  uint32_t injected; /* calls that the plan handled instead of the real module */
  uint32_t spare[5];
};

/* A process that has loaded the module. Its slot is reused once it has exited. */
struct shim_process {
  uint32_t pid;
  uint32_t sessions;         /* number of open sessions */
  uint32_t most_sessions;
  uint32_t initialize_flags; /* flags from the last C_Initialize; SHIM_ALWAYS: called without arguments */
  uint32_t initialized;      /* number of successful C_Initialize calls */
  uint32_t in_flight;
  uint32_t most_in_flight;   /* maximum number of concurrent calls */
  uint32_t drops;            /* number of times the process's sessions were dropped */
};

struct shim_entry {
  uint32_t pid;
  uint32_t function; /* index into functions.h */
  uint32_t rv;
  uint32_t micros;
};

enum shim_vendor {
  VENDOR_NONE = 0,
  VENDOR_LUNA = 1,         /* appends a 16-byte IV, regardless of ulIvBits */
  VENDOR_LUNA_7_9_3 = 2,   /* appends a 12-byte IV if ulIvBits is 96 */
  VENDOR_CLOUDHSM = 3      /* takes 12 zeros and overwrites them with the IV; also has a vendor mechanism */
};

struct shim_shared {
  uint32_t magic;
  uint32_t size;
  uint32_t vendor;
  uint32_t hang; /* same as shim_plan.hang, for every function */
  uint32_t latency_us;
  uint32_t drop_generation; /* a change makes every process drop all its sessions at its next call */
  uint32_t max_sessions;    /* token's session limit across all processes; 0: unlimited */
  uint32_t log_next;        /* number of entries written; entry i is at index i modulo SHIM_LOG */
  uint32_t only_slot;       /* only slot to inject faults into, plus 1; 0: every slot */
  uint32_t spare[55];
  struct shim_plan plans[SHIM_FUNCTIONS];
  struct shim_count counts[SHIM_FUNCTIONS];
  struct shim_process processes[SHIM_PROCESSES];
  struct shim_entry log[SHIM_LOG];
};

/* `shim_begin` returns this value if the real module must be called. No CKR_ code has this value. */
#define SHIM_PASS ((CK_RV)0xfffffffful)

/* The real module and the mapped control file; null until C_GetFunctionList has succeeded. */
extern CK_FUNCTION_LIST_PTR shim_real;
extern struct shim_shared *shim_shared;
extern struct shim_process *shim_self;

CK_RV shim_load(void);
/* Sets the slot that this process uses from now on. Call before C_OpenSession. */
void shim_turn_to(CK_SLOT_ID slot);
/* Call these at the beginning and end of every call. Sessions are dropped only between calls. */
CK_RV shim_begin(int function);
CK_RV shim_end(int function, CK_RV rv);

/* CKM_CLOUDHSM_AES_GCM: CKM_VENDOR_DEFINED | CKM_AES_GCM. */
#define SHIM_CLOUDHSM_AES_GCM 0x80001087ul

struct shim_session {
  CK_SESSION_HANDLE handle; /* 0: unused entry */
  CK_SLOT_ID slot;
  int encrypts; /* encrypting with a generated IV */
  unsigned char iv[16];
  unsigned long iv_bytes;
  unsigned char *write_to; /* caller's IV buffer */
  int is_prefixed;         /* whether the ciphertext starts with the IV */
  int decrypts;            /* decrypting; starts once the IV is known */
  CK_GCM_PARAMS kept;
  unsigned char *aad;
  CK_OBJECT_HANDLE key;
};

/* Returns null if the session is unknown. PKCS#11 allows only one call at a time per session. */
struct shim_session *shim_session(CK_SESSION_HANDLE handle);
CK_RV shim_admit_session(void);
void shim_opened(CK_SESSION_HANDLE handle, CK_SLOT_ID slot);
void shim_closed(CK_SESSION_HANDLE handle);
/* @param slot null for every slot */
void shim_closed_all(const CK_SLOT_ID *slot);
/* Closes all sessions in the real module. */
void shim_drop_all(void);

CK_RV shim_encrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
CK_RV shim_encrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len);
CK_RV shim_decrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
CK_RV shim_decrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len);
CK_RV shim_mechanisms(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count);

#endif
