/** Key attributes: which ones are read, which ones a new key gets, and which ones a usable key must have. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { CkrFailure } from '../wire/errors.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'

const KEY_BYTES = 32
const ID_BYTES = 16
/** Size of CK_ULONG on the platforms that the worker runs on. */
const ULONG_BYTES = 8

export interface KeyAttributes {
  readonly label: string
  /** CKA_ID, hexadecimal. */
  readonly id: string
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly isSensitive: boolean
  readonly isExtractable: boolean
  /** Why Latchkey cannot use the key; absent for an AES-256 key that allows AES-GCM. */
  readonly unusable?: string
}

/** @param mechanism the one that operations use; undefined to accept any restriction of the key */
export function readAttributes(
  { cryptoki, constants: c }: Pkcs11Module,
  session: Handle,
  key: Handle,
  mechanism?: number,
): KeyAttributes {
  const read = (type: number): Buffer | undefined => {
    try {
      return invoke(
        'C_GetAttributeValue',
        () => cryptoki.C_GetAttributeValue(session, key, [{ type }])[0]?.value,
      )
    } catch (error) {
      // A token may not know every attribute. An unknown one counts as absent.
      if (error instanceof CkrFailure && error.row.name.includes('ATTRIBUTE')) return undefined
      throw error
    }
  }
  const isSet = (type: number) => read(type)?.some((byte) => byte !== 0) === true
  const label = toText(read(c.CKA_LABEL))
  const type = toNumber(read(c.CKA_KEY_TYPE))
  const bytes = toNumber(read(c.CKA_VALUE_LEN))
  const isAes256 = type === c.CKK_AES && (bytes === undefined || bytes === KEY_BYTES)
  const unusable = isAes256
    ? findForbidden(cryptoki, session, { key, attribute: c.CKA_ALLOWED_MECHANISMS, mechanism })
    : 'is not an AES-256 key'
  return {
    ...(unusable === undefined ? {} : { unusable }),
    label,
    id: (read(c.CKA_ID) ?? Buffer.alloc(0)).toString('hex'),
    canEncrypt: isSet(c.CKA_ENCRYPT),
    canDecrypt: isSet(c.CKA_DECRYPT),
    isSensitive: isSet(c.CKA_SENSITIVE),
    isExtractable: isSet(c.CKA_EXTRACTABLE),
  }
}

/** @returns why the key forbids the mechanism; undefined where it restricts nothing, or the module does not tell */
function findForbidden(
  cryptoki: Pkcs11Module['cryptoki'],
  session: Handle,
  asked: {
    readonly key: Handle
    readonly attribute: number
    readonly mechanism: number | undefined
  },
): string | undefined {
  if (asked.mechanism === undefined) return undefined
  let list: Buffer | undefined
  try {
    list = cryptoki.C_GetAttributeValue(session, asked.key, [{ type: asked.attribute }])[0]?.value
  } catch {
    // Few modules know the attribute, and they refuse it in many ways.
    return undefined
  }
  if (list === undefined || list.length === 0 || list.length % ULONG_BYTES !== 0) return undefined
  const bytes = list
  const allowed = Array.from({ length: bytes.length / ULONG_BYTES }, (_, i) =>
    toNumber(bytes.subarray(i * ULONG_BYTES, (i + 1) * ULONG_BYTES)),
  )
  return allowed.includes(asked.mechanism)
    ? undefined
    : 'does not allow AES-GCM (CKA_ALLOWED_MECHANISMS)'
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

export interface NewKeyTemplate {
  readonly label: string
  /** CKA_ID in hex (default: random). On NSS, an existing id would replace its key. */
  readonly id?: string
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly material?: Buffer
  /** Whether the key is destroyed with the session. */
  readonly isOfSession?: boolean
}

/** Attributes of a key that never leaves the token, or of an imported key if `material` is given. */
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
