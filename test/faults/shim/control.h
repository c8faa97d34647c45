/*
 * What the fault module and the test that steers it share: one file, mapped by every process that has
 * loaded the module and written in place by the test (../../support/fault-control.ts has the same
 * layout). All numbers are 32 bits, in the machine's order.
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

/* What one function is to do. Written by the test; `remaining` is counted down here. */
struct shim_plan {
  uint32_t latency_us;
  uint32_t hang;      /* 0: no; SHIM_ALWAYS: while set; else that many milliseconds */
  uint32_t rv;        /* returned instead, `remaining` times */
  uint32_t crash;     /* a signal, raised instead, `remaining` times */
  uint32_t ppm;       /* of a million calls; 0: all */
  uint32_t after;     /* 1: the real module is called first, and its answer thrown away */
  uint32_t remaining; /* SHIM_ALWAYS: for ever */
  uint32_t spare;
};

struct shim_count {
  uint32_t calls;
  uint32_t failed;   /* answered with anything but CKR_OK */
  uint32_t injected; /* answered by the plan */
  uint32_t spare[5];
};

/* One process that has loaded the module; a place is taken over when its process is gone. */
struct shim_process {
  uint32_t pid;
  uint32_t sessions;         /* open now */
  uint32_t most_sessions;
  uint32_t initialize_flags; /* of the last C_Initialize; SHIM_ALWAYS: it had no arguments */
  uint32_t initialized;      /* how often C_Initialize succeeded */
  uint32_t in_flight;
  uint32_t most_in_flight;   /* calls in the module at one time */
  uint32_t drops;            /* how often its sessions were dropped */
};

struct shim_entry {
  uint32_t pid;
  uint32_t function; /* index into functions.h */
  uint32_t rv;
  uint32_t micros;
};

enum shim_vendor {
  VENDOR_NONE = 0,
  VENDOR_LUNA = 1,         /* 16 bytes of IV appended, whatever ulIvBits says */
  VENDOR_LUNA_7_9_3 = 2,   /* 12 bytes when ulIvBits is 96 */
  VENDOR_CLOUDHSM = 3      /* 12 zeros in, IV written back by C_Encrypt; and a mechanism of its own */
};

struct shim_shared {
  uint32_t magic;
  uint32_t size;
  uint32_t vendor;
  uint32_t hang; /* as in a plan, for every function */
  uint32_t latency_us;
  uint32_t drop_generation; /* a new number: every process closes all its sessions at its next call */
  uint32_t max_sessions;    /* on the token, over all processes; 0: no limit */
  uint32_t log_next;        /* how many entries were written; the place is modulo SHIM_LOG */
  uint32_t only_slot;       /* damage is done to sessions on this slot, plus 1; 0: on every one */
  uint32_t spare[55];
  struct shim_plan plans[SHIM_FUNCTIONS];
  struct shim_count counts[SHIM_FUNCTIONS];
  struct shim_process processes[SHIM_PROCESSES];
  struct shim_entry log[SHIM_LOG];
};

/* Answered by `shim_begin` when the real module is to be called; no CKR_ has this value. */
#define SHIM_PASS ((CK_RV)0xfffffffful)

/* The real module, and the mapped file. Null until C_GetFunctionList has succeeded. */
extern CK_FUNCTION_LIST_PTR shim_real;
extern struct shim_shared *shim_shared;
extern struct shim_process *shim_self;

CK_RV shim_load(void);
/* Before C_OpenSession begins: the slot that this process works on from now on. */
void shim_turn_to(CK_SLOT_ID slot);
/* Every call begins and ends with these; between them no session is dropped. */
CK_RV shim_begin(int function);
CK_RV shim_end(int function, CK_RV rv);

/* CKM_CLOUDHSM_AES_GCM: CKM_VENDOR_DEFINED | CKM_AES_GCM. */
#define SHIM_CLOUDHSM_AES_GCM 0x80001087ul

struct shim_session {
  CK_SESSION_HANDLE handle; /* 0: free */
  CK_SLOT_ID slot;
  int encrypts; /* with an IV of ours */
  unsigned char iv[16];
  unsigned long iv_bytes;
  unsigned char *write_to; /* the caller's pIv */
  int is_prefixed;         /* the IV goes before the ciphertext */
  int decrypts;            /* as soon as the IV is there */
  CK_GCM_PARAMS kept;
  unsigned char *aad;
  CK_OBJECT_HANDLE key;
};

/* Null when there is none. One call at a time uses a session, as PKCS#11 demands. */
struct shim_session *shim_session(CK_SESSION_HANDLE handle);
CK_RV shim_admit_session(void);
void shim_opened(CK_SESSION_HANDLE handle, CK_SLOT_ID slot);
void shim_closed(CK_SESSION_HANDLE handle);
/* Null: of every slot. */
void shim_closed_all(const CK_SLOT_ID *slot);
/* Closes them at the real module. */
void shim_drop_all(void);

CK_RV shim_encrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
CK_RV shim_encrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len);
CK_RV shim_decrypt_init(CK_SESSION_HANDLE handle, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key);
CK_RV shim_decrypt(CK_SESSION_HANDLE handle, unsigned char *data, unsigned long data_len,
                   unsigned char *out, unsigned long *out_len);
CK_RV shim_mechanisms(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count);

#endif
