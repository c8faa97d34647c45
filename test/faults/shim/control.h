/*
 * The control file, shared by the fault module and the test that controls it. Every process that has loaded the
 * module maps it, and the test writes it in place (../../support/pkcs11/fault-control.ts has the same layout). All numbers
 * have 32 bits, in the machine's byte order.
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

/* Faults of one function. The test writes them; the module counts `remaining` down. */
struct shim_plan {
  uint32_t latency_us;
  uint32_t hang;      /* 0: does not hang; SHIM_ALWAYS: hangs while set; otherwise hangs for this many milliseconds */
  uint32_t rv;        /* code to return instead of the real one, `remaining` times */
  uint32_t crash;     /* signal to raise instead of returning, `remaining` times */
  uint32_t ppm;       /* faulty calls per million; 0: all */
  uint32_t after;     /* 1: calls the real module first, and discards its answer */
  uint32_t remaining; /* number of faults left; SHIM_ALWAYS: unlimited */
  uint32_t spare;
};

struct shim_count {
  uint32_t calls;
  uint32_t failed;   /* calls that did not return CKR_OK */
  uint32_t injected; /* calls that the plan answered */
  uint32_t spare[5];
};

/* One process that has loaded the module. Another process reuses the slot of an ended one. */
struct shim_process {
  uint32_t pid;
  uint32_t sessions;         /* currently open */
  uint32_t most_sessions;
  uint32_t initialize_flags; /* flags of the last C_Initialize; SHIM_ALWAYS: it had no arguments */
  uint32_t initialized;      /* number of successful C_Initialize calls */
  uint32_t in_flight;
  uint32_t most_in_flight;   /* largest number of concurrent calls in the module */
  uint32_t drops;            /* number of times its sessions were dropped */
};

struct shim_entry {
  uint32_t pid;
  uint32_t function; /* index into functions.h */
  uint32_t rv;
  uint32_t micros;
};

enum shim_vendor {
  VENDOR_NONE = 0,
  VENDOR_LUNA = 1,         /* appends a 16-byte IV, whatever ulIvBits is */
  VENDOR_LUNA_7_9_3 = 2,   /* appends 12 bytes if ulIvBits is 96 */
  VENDOR_CLOUDHSM = 3      /* takes 12 zeros, C_Encrypt writes the IV back; also has its own mechanism */
};

struct shim_shared {
  uint32_t magic;
  uint32_t size;
  uint32_t vendor;
  uint32_t hang; /* like shim_plan.hang, for every function */
  uint32_t latency_us;
  uint32_t drop_generation; /* when it changes, every process closes all its sessions at its next call */
  uint32_t max_sessions;    /* limit of the token for all processes together; 0: no limit */
  uint32_t log_next;        /* number of entries written; an entry's index is this modulo SHIM_LOG */
  uint32_t only_slot;       /* slot with faults, plus 1; 0: every slot */
  uint32_t spare[55];
  struct shim_plan plans[SHIM_FUNCTIONS];
  struct shim_count counts[SHIM_FUNCTIONS];
  struct shim_process processes[SHIM_PROCESSES];
  struct shim_entry log[SHIM_LOG];
};

/* `shim_begin` returns this if the real module is to be called; no CKR_ code has this value. */
#define SHIM_PASS ((CK_RV)0xfffffffful)

/* The real module and the mapped file; null until C_GetFunctionList has succeeded. */
extern CK_FUNCTION_LIST_PTR shim_real;
extern struct shim_shared *shim_shared;
extern struct shim_process *shim_self;

CK_RV shim_load(void);
/* Call before C_OpenSession begins: sets the slot that this process uses from now on. */
void shim_turn_to(CK_SLOT_ID slot);
/* Every call begins and ends with these. No session is dropped between them. */
CK_RV shim_begin(int function);
CK_RV shim_end(int function, CK_RV rv);

/* CKM_CLOUDHSM_AES_GCM: CKM_VENDOR_DEFINED | CKM_AES_GCM. */
#define SHIM_CLOUDHSM_AES_GCM 0x80001087ul

struct shim_session {
  CK_SESSION_HANDLE handle; /* 0: this entry is free */
  CK_SLOT_ID slot;
  int encrypts; /* encrypts with an IV of the shim */
  unsigned char iv[16];
  unsigned long iv_bytes;
  unsigned char *write_to; /* the caller's pIv */
  int is_prefixed;         /* the ciphertext begins with the IV */
  int decrypts;            /* decryption starts once the IV is known */
  CK_GCM_PARAMS kept;
  unsigned char *aad;
  CK_OBJECT_HANDLE key;
};

/* Returns null if there is none. PKCS#11 requires that only one call at a time uses a session. */
struct shim_session *shim_session(CK_SESSION_HANDLE handle);
CK_RV shim_admit_session(void);
void shim_opened(CK_SESSION_HANDLE handle, CK_SLOT_ID slot);
void shim_closed(CK_SESSION_HANDLE handle);
/* slot: null means every slot. */
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
