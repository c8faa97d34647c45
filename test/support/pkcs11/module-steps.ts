/** The process behind `module-session.ts`: it executes each message as a step and sends back the result. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type * as Pkcs11 from 'pkcs11js'

/** Parameters for loading a module and finding a token. */
export interface ModuleAddress {
  /** Path to the shared library. */
  readonly module: string
  /** Environment variables that the module reads. */
  readonly environment: Readonly<Record<string, string>>
  /** C_Initialize parameters for NSS. */
  readonly parameters?: string
}

export interface NewTokenKey {
  readonly label: string
  /** CKA_ID in hexadecimal (default: the label's bytes). */
  readonly id?: string
  readonly canEncrypt?: boolean
  readonly canDecrypt?: boolean
  /** Key length in bytes (default: 32). */
  readonly bytes?: number
  /** `generic` creates a CKK_GENERIC_SECRET key, which AES-GCM rejects. */
  readonly type?: 'aes' | 'generic'
  /** Key material to import (default: generate the key). */
  readonly material?: Buffer
  readonly extractable?: boolean
  /** CKA_ALLOWED_MECHANISMS attribute. */
  readonly allowed?: readonly number[]
}

export type Step =
  /** Calls C_Initialize, with CKF_OS_LOCKING_OK unless `flags` overrides it. */
  | { readonly step: 'initialize'; readonly flags?: number }
  | { readonly step: 'finalize' }
  | { readonly step: 'tokens' }
  | { readonly step: 'mechanisms'; readonly slot: number }
  /** Sets the first PIN on a token that has none, such as a new NSS database, whose SO PIN is empty. */
  | { readonly step: 'firstPin'; readonly slot: number; readonly pin: string }
  | { readonly step: 'open'; readonly slot: number }
  | { readonly step: 'close'; readonly session: number }
  | { readonly step: 'login'; readonly session: number; readonly pin: string }
  | { readonly step: 'createKey'; readonly session: number; readonly key: NewTokenKey }
  | { readonly step: 'find'; readonly session: number; readonly label: string }
  | { readonly step: 'destroy'; readonly session: number; readonly key: number }
  /** Sets CKA_LABEL. */
  | {
      readonly step: 'rename'
      readonly session: number
      readonly key: number
      readonly label: string
    }
  | ({ readonly step: 'encrypt'; readonly session: number; readonly key: number } & GcmInput)
  | ({ readonly step: 'decrypt'; readonly session: number; readonly key: number } & GcmInput)
  /** Runs round trips on several threads, each with its own session. */
  | {
      readonly step: 'parallel'
      readonly slot: number
      readonly key: number
      readonly sessions: number
      readonly rounds: number
    }

export interface GcmInput {
  /** The plaintext for `encrypt`, or the ciphertext followed by the tag for `decrypt`. */
  readonly data: Buffer
  readonly iv: Buffer
  readonly aad: Buffer
  /** IV length in bits (default: 8 times the length of `iv`). */
  readonly ivBits?: number
  /** Size of the output buffer in addition to the input's length (default: 32). */
  readonly room?: number
  /** Mechanism (default: CKM_AES_GCM). */
  readonly mechanism?: number
}

export interface StepResults {
  readonly initialize: undefined
  readonly finalize: undefined
  /** `slot` is the slot's position in the list, and `slotId` is the module's own number for the slot. */
  readonly tokens: readonly { slot: number; slotId: number; label: string; serial: string }[]
  readonly mechanisms: readonly number[]
  readonly firstPin: undefined
  /** Sessions and keys are identified by their positions in a list. */
  readonly open: number
  readonly close: undefined
  readonly login: undefined
  readonly createKey: number
  readonly find: readonly number[]
  readonly destroy: undefined
  readonly rename: undefined
  readonly encrypt: { readonly output: Buffer; readonly iv: Buffer }
  readonly decrypt: { readonly output: Buffer; readonly iv: Buffer }
  /** Number of correct round trips. */
  readonly parallel: number
}

export type Request = Step | { readonly step: 'load'; readonly address: ModuleAddress }
export type Reply =
  { readonly value: unknown } | { readonly rv: number } | { readonly error: string }

const pkcs11 = createRequire(import.meta.url)('pkcs11js') as typeof Pkcs11
const MECHANISM = pkcs11.CKM_AES_GCM

function run(): void {
  const module = new pkcs11.PKCS11()
  const handles: Pkcs11.Handle[] = []
  const held: Buffer[] = []
  let parameters: string | undefined
  const keep = (handle: Pkcs11.Handle) => handles.push(handle) - 1
  const at = (place: number) => {
    const handle = handles[place]
    if (handle === undefined) throw new Error('no such handle')
    return handle
  }
  const slotAt = (place: number) => {
    const slot = module.C_GetSlotList(true)[place]
    if (slot === undefined) throw new Error('no such slot')
    return slot
  }
  const gcm = ({ iv, aad, ivBits = iv.length * 8, mechanism = MECHANISM }: GcmInput) => ({
    mechanism,
    parameter: {
      type: pkcs11.CK_PARAMS_AES_GCM_v240,
      // pkcs11js passes NULL for an empty buffer.
      iv: iv.length === 0 ? Buffer.alloc(0) : iv,
      ivBits,
      aad,
      tagBits: 128,
    } as Pkcs11.AesGCM,
  })
  const steps: Record<Step['step'], (step: never) => unknown> = {
    initialize({ flags = pkcs11.CKF_OS_LOCKING_OK }: { flags?: number }) {
      module.C_Initialize({
        flags,
        // pkcs11js drops the last character, so append a space.
        ...(parameters === undefined ? {} : { libraryParameters: `${parameters} ` }),
      })
    },
    finalize() {
      module.C_Finalize()
    },
    tokens() {
      return module.C_GetSlotList(true).map((slot, place) => {
        const { label, serialNumber } = module.C_GetTokenInfo(slot)
        return {
          slot: place,
          slotId: slot.readUInt32LE(),
          label: label.trimEnd(),
          serial: serialNumber.trimEnd(),
        }
      })
    },
    mechanisms: ({ slot }: { slot: number }) => module.C_GetMechanismList(slotAt(slot)),
    firstPin({ slot, pin }: { slot: number; pin: string }) {
      const session = module.C_OpenSession(slotAt(slot), SESSION_FLAGS)
      module.C_Login(session, pkcs11.CKU_SO, '')
      module.C_InitPIN(session, pin)
      module.C_CloseSession(session)
    },
    open: ({ slot }: { slot: number }) => keep(module.C_OpenSession(slotAt(slot), SESSION_FLAGS)),
    close({ session }: { session: number }) {
      module.C_CloseSession(at(session))
    },
    login({ session, pin }: { session: number; pin: string }) {
      module.C_Login(at(session), pkcs11.CKU_USER, pin)
    },
    createKey({ session, key }: { session: number; key: NewTokenKey }) {
      const template = templateOf(key)
      return keep(
        key.material === undefined
          ? module.C_GenerateKey(at(session), { mechanism: generatorOf(key) }, template)
          : module.C_CreateObject(at(session), template),
      )
    },
    find({ session, label }: { session: number; label: string }) {
      module.C_FindObjectsInit(at(session), [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_LABEL, value: label },
      ])
      const found = module.C_FindObjects(at(session), 100)
      module.C_FindObjectsFinal(at(session))
      return found.map(keep)
    },
    destroy({ session, key }: { session: number; key: number }) {
      module.C_DestroyObject(at(session), at(key))
    },
    rename({ session, key, label }: { session: number; key: number; label: string }) {
      module.C_SetAttributeValue(at(session), at(key), [{ type: pkcs11.CKA_LABEL, value: label }])
    },
    encrypt({ session, key, ...input }: { session: number; key: number } & GcmInput) {
      const mechanism = gcm(input)
      const room = Buffer.alloc(input.data.length + (input.room ?? 32))
      module.C_EncryptInit(at(session), mechanism, at(key))
      return { output: module.C_Encrypt(at(session), input.data, room), iv: input.iv }
    },
    decrypt({ session, key, ...input }: { session: number; key: number } & GcmInput) {
      const mechanism = gcm(input)
      const room = Buffer.alloc(input.data.length + (input.room ?? 32))
      module.C_DecryptInit(at(session), mechanism, at(key))
      return { output: module.C_Decrypt(at(session), input.data, room), iv: input.iv }
    },
    async parallel(plan: { slot: number; key: number; sessions: number; rounds: number }) {
      const one = async () => {
        const session = module.C_OpenSession(slotAt(plan.slot), SESSION_FLAGS)
        let right = 0
        for (let round = 0; round < plan.rounds; round++) {
          const data = randomBytes(32)
          const [aad, sealed, opened] = [randomBytes(16), Buffer.alloc(64), Buffer.alloc(64)]
          const mechanism = gcm({ data, aad, iv: randomBytes(12) })
          module.C_EncryptInit(session, mechanism, at(plan.key))
          const output = await module.C_EncryptAsync(session, data, sealed)
          module.C_DecryptInit(session, mechanism, at(plan.key))
          if ((await module.C_DecryptAsync(session, output, opened)).equals(data)) right += 1
          // Hold these buffers, because pkcs11js does not keep them alive while its thread reads them.
          held.push(data, aad, sealed, opened)
        }
        module.C_CloseSession(session)
        return right
      }
      const all = await Promise.all(Array.from({ length: plan.sessions }, one))
      return all.reduce((sum, right) => sum + right, 0)
    },
  }
  const carryOut = async (request: Request): Promise<unknown> => {
    if (request.step === 'load') {
      module.load(request.address.module)
      parameters = request.address.parameters
      return undefined
    }
    return steps[request.step](request as never)
  }
  process.on('message', (request: Request) => {
    carryOut(request).then(
      (value) => process.send?.({ value } satisfies Reply),
      (error: unknown) => process.send?.(toReply(error)),
    )
  })
  process.once('disconnect', () => process.exit(0))
}

const SESSION_FLAGS = pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION

function toReply(error: unknown): Reply {
  return error instanceof pkcs11.Pkcs11Error
    ? { rv: error.code }
    : { error: error instanceof Error ? error.message : 'failed' }
}

function generatorOf({ type }: NewTokenKey): number {
  return type === 'generic' ? pkcs11.CKM_GENERIC_SECRET_KEY_GEN : pkcs11.CKM_AES_KEY_GEN
}

function toUlongs(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * values.length)
  values.forEach((value, i) => bytes.writeBigUInt64LE(BigInt(value), 8 * i))
  return bytes
}

function templateOf(key: NewTokenKey): Pkcs11.Template {
  return [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
    {
      type: pkcs11.CKA_KEY_TYPE,
      value: key.type === 'generic' ? pkcs11.CKK_GENERIC_SECRET : pkcs11.CKK_AES,
    },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_SENSITIVE, value: true },
    { type: pkcs11.CKA_EXTRACTABLE, value: key.extractable ?? false },
    { type: pkcs11.CKA_ENCRYPT, value: key.canEncrypt ?? true },
    { type: pkcs11.CKA_DECRYPT, value: key.canDecrypt ?? true },
    { type: pkcs11.CKA_LABEL, value: key.label },
    {
      type: pkcs11.CKA_ID,
      value: key.id === undefined ? Buffer.from(key.label) : Buffer.from(key.id, 'hex'),
    },
    key.material === undefined
      ? { type: pkcs11.CKA_VALUE_LEN, value: key.bytes ?? 32 }
      : { type: pkcs11.CKA_VALUE, value: key.material },
    ...(key.allowed === undefined
      ? []
      : [{ type: pkcs11.CKA_ALLOWED_MECHANISMS, value: toUlongs(key.allowed) }]),
  ]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) run()
