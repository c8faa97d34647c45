/**
 * Reads the attributes of keys, sets attributes of new keys, and checks the attributes that a
 * usable key must have.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { CkrFailure } from '../wire/errors.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'

const KEY_BYTES = 32
const ID_BYTES = 16
/** Size of CK_ULONG in bytes on the platforms that the worker runs on. */
const ULONG_BYTES = 8

export interface KeyAttributes {
  readonly label: string
  /** CKA_ID in hexadecimal. */
  readonly id: string
  readonly isAes: boolean
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly isSensitive: boolean
  readonly isExtractable: boolean
  /**
   * The reason Latchkey cannot use the key. Absent if the key is an AES-256 key that allows
   * AES-GCM.
   */
  readonly unusable?: string
}

/**
 * Modules that reject requests for CKA_ALLOWED_MECHANISMS, an attribute that few modules support.
 */
const WITHOUT_MECHANISMS = new WeakSet<Pkcs11Module>()

/**
 * @param mechanism mechanism that operations use; undefined to skip the check of the key's allowed
 * mechanisms
 */
export function readAttributes(
  module: Pkcs11Module,
  session: Handle,
  key: Handle,
  mechanism?: number,
): KeyAttributes {
  const { constants: c } = module
  const types = [
    ...[c.CKA_LABEL, c.CKA_KEY_TYPE, c.CKA_VALUE_LEN, c.CKA_ID],
    ...[c.CKA_ENCRYPT, c.CKA_DECRYPT, c.CKA_SENSITIVE, c.CKA_EXTRACTABLE],
  ]
  const asksMechanisms = mechanism !== undefined && !WITHOUT_MECHANISMS.has(module)
  const values = readValues(
    module,
    session,
    key,
    asksMechanisms ? [...types, c.CKA_ALLOWED_MECHANISMS] : types,
  )
  const isSet = (type: number) => values.get(type)?.some((byte) => byte !== 0) === true
  const bytes = toNumber(values.get(c.CKA_VALUE_LEN))
  const isAes = toNumber(values.get(c.CKA_KEY_TYPE)) === c.CKK_AES
  const unusable =
    isAes && (bytes === undefined || bytes === KEY_BYTES)
      ? findForbidden(values.get(c.CKA_ALLOWED_MECHANISMS), mechanism)
      : 'is not an AES-256 key'
  return {
    ...(unusable === undefined ? {} : { unusable }),
    label: toText(values.get(c.CKA_LABEL)),
    id: (values.get(c.CKA_ID) ?? Buffer.alloc(0)).toString('hex'),
    isAes,
    canEncrypt: isSet(c.CKA_ENCRYPT),
    canDecrypt: isSet(c.CKA_DECRYPT),
    isSensitive: isSet(c.CKA_SENSITIVE),
    isExtractable: isSet(c.CKA_EXTRACTABLE),
  }
}

/**
 * Reads all attributes in one call, or one at a time if the token does not support all of them. The
 * result omits unsupported attributes.
 */
function readValues(
  module: Pkcs11Module,
  session: Handle,
  key: Handle,
  types: readonly number[],
): ReadonlyMap<number, Buffer> {
  const { cryptoki, constants: c } = module
  const read = (some: readonly number[]) => {
    const found = invoke('C_GetAttributeValue', () =>
      cryptoki.C_GetAttributeValue(
        session,
        key,
        some.map((type) => ({ type })),
      ),
    )
    // The binding leaves out the value of an attribute that the token does not have.
    return found.flatMap(({ type, value }) =>
      Buffer.isBuffer(value) ? [[type, value] as const] : [],
    )
  }
  try {
    return new Map(read(types))
  } catch (error) {
    if (!(error instanceof CkrFailure)) throw error
  }
  const values = types.flatMap((type) => {
    try {
      return read([type])
    } catch (error) {
      if (!(error instanceof CkrFailure)) throw error
      if (type === c.CKA_ALLOWED_MECHANISMS) WITHOUT_MECHANISMS.add(module)
      // Few modules know this attribute, and all other modules reject it with various codes.
      else if (!error.row.name.includes('ATTRIBUTE')) throw error
      return []
    }
  })
  return new Map(values)
}

/**
 * @param list value of CKA_ALLOWED_MECHANISMS
 * @returns why the key forbids the mechanism; undefined if the key allows it, or if the module does
 * not report restrictions
 */
function findForbidden(
  list: Buffer | undefined,
  mechanism: number | undefined,
): string | undefined {
  if (mechanism === undefined || list === undefined) return undefined
  if (list.length === 0 || list.length % ULONG_BYTES !== 0) return undefined
  const allowed = Array.from({ length: list.length / ULONG_BYTES }, (_, i) =>
    toNumber(list.subarray(i * ULONG_BYTES, (i + 1) * ULONG_BYTES)),
  )
  return allowed.includes(mechanism) ? undefined : 'does not allow AES-GCM (CKA_ALLOWED_MECHANISMS)'
}

/** Decodes a CK_ULONG of four or eight bytes. */
function toNumber(bytes: Buffer | undefined): number | undefined {
  if (bytes?.length === 8) return Number(bytes.readBigUInt64LE())
  return bytes?.length === 4 ? bytes.readUInt32LE() : undefined
}

function toText(bytes: Buffer | undefined): string {
  return (bytes ?? Buffer.alloc(0)).toString('utf8')
}

export function readLabel(
  { cryptoki, constants: c }: Pkcs11Module,
  session: Handle,
  key: Handle,
): string {
  const [found] = invoke('C_GetAttributeValue', () =>
    cryptoki.C_GetAttributeValue(session, key, [{ type: c.CKA_LABEL }]),
  )
  return toText(found?.value)
}

/** @returns CKA_ID in hexadecimal */
export function readId(
  { cryptoki, constants: c }: Pkcs11Module,
  session: Handle,
  key: Handle,
): string {
  const [found] = invoke('C_GetAttributeValue', () =>
    cryptoki.C_GetAttributeValue(session, key, [{ type: c.CKA_ID }]),
  )
  return found === undefined ? '' : found.value.toString('hex')
}

export interface NewKeyTemplate {
  readonly label: string
  /**
   * CKA_ID in hex (default: random). On NSS, a new key replaces an existing key with the same id.
   */
  readonly id?: string
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly material?: Buffer
  /** Whether the key is destroyed with the session. */
  readonly isOfSession?: boolean
}

/** Creates a key that never leaves the token, or imports a key if `material` is given. */
export function createKey(
  { cryptoki, constants: c }: Pkcs11Module,
  session: Handle,
  key: NewKeyTemplate,
): Handle {
  const id = key.id === undefined ? randomBytes(ID_BYTES) : Buffer.from(key.id, 'hex')
  const template = [
    { type: c.CKA_CLASS, value: c.CKO_SECRET_KEY },
    { type: c.CKA_KEY_TYPE, value: c.CKK_AES },
    { type: c.CKA_TOKEN, value: key.isOfSession !== true },
    { type: c.CKA_PRIVATE, value: true },
    { type: c.CKA_SENSITIVE, value: true },
    { type: c.CKA_EXTRACTABLE, value: false },
    { type: c.CKA_ENCRYPT, value: key.canEncrypt },
    { type: c.CKA_DECRYPT, value: key.canDecrypt },
    { type: c.CKA_WRAP, value: false },
    { type: c.CKA_UNWRAP, value: false },
    { type: c.CKA_LABEL, value: Buffer.from(key.label, 'utf8') },
    { type: c.CKA_ID, value: id },
  ]
  const { material } = key
  if (material !== undefined) {
    return invoke('C_CreateObject', () =>
      cryptoki.C_CreateObject(session, [...template, { type: c.CKA_VALUE, value: material }]),
    )
  }
  const length = { type: c.CKA_VALUE_LEN, value: KEY_BYTES }
  return invoke('C_GenerateKey', () =>
    cryptoki.C_GenerateKey(session, { mechanism: c.CKM_AES_KEY_GEN }, [...template, length]),
  )
}
