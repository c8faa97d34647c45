/**
 * Ed25519 signatures over the canonical form of a statement. They allow receipts and backups to
 * serve as evidence.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  type KeyObject,
  createPrivateKey,
  createPublicKey,
  sign as signBytes,
  verify as verifyBytes,
} from 'node:crypto'

/**
 * Bound into every signature, so that a statement of one kind cannot pass as a statement of
 * another.
 */
const DOMAINS = {
  receipt: 'latchkey receipt v1\n',
  backup: 'latchkey backup v1\n',
  audit: 'latchkey audit log v1\n',
  destruction: 'latchkey destruction v1\n',
} as const

export type StatementKind = keyof typeof DOMAINS

/** DER prefix (RFC 8410) that precedes the 32 bytes of a private or public key. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI_HEAD = Buffer.from('302a300506032b6570032100', 'hex')

/** A signed statement as it is stored, printed and given to auditors. */
export interface Signed<Statement> {
  readonly statement: Statement
  /**
   * Raw Ed25519 public key, 32 bytes in Base64. It names the signer, and proves nothing on its own.
   */
  readonly publicKey: string
  /** 64 bytes in Base64. */
  readonly signature: string
}

export interface Signer {
  /** 32 bytes in Base64. */
  readonly publicKey: string
  sign<Statement>(statement: Statement): Signed<Statement>
}

/** @param seed 32 bytes, the private key of RFC 8032 */
export function createSigner(seed: Buffer, kind: StatementKind = 'receipt'): Signer {
  const { privateKey, rawPublicKey } = importSeed(seed)
  const publicKey = rawPublicKey.toString('base64')
  return {
    publicKey,
    sign(statement) {
      const signature = signBytes(null, toBytes(statement, kind), privateKey).toString('base64')
      return { statement, publicKey, signature }
    },
  }
}

/** @param publicKey the trusted signer's key, 32 bytes in Base64; not the one in `signed` */
export function verifySigned(
  signed: Signed<unknown>,
  publicKey: string,
  kind: StatementKind = 'receipt',
): boolean {
  const key = parsePublicKey(publicKey)
  const signature = Buffer.from(signed.signature, 'base64')
  if (key === undefined || signature.length !== 64) return false
  return verifyBytes(null, toBytes(signed.statement, kind), key, signature)
}

function parsePublicKey(publicKey: string): KeyObject | undefined {
  const bytes = Buffer.from(publicKey, 'base64')
  return bytes.length === 32 ? importPublicKey(bytes) : undefined
}

/** @param seed 32 bytes, the private key of RFC 8032 */
export function importSeed(seed: Buffer): {
  readonly privateKey: KeyObject
  readonly rawPublicKey: Buffer
} {
  const key = Buffer.concat([PKCS8_HEAD, seed])
  const privateKey = createPrivateKey({ key, format: 'der', type: 'pkcs8' })
  key.fill(0)
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return { privateKey, rawPublicKey: spki.subarray(SPKI_HEAD.length) }
}

/** @param raw 32 bytes */
export function importPublicKey(raw: Buffer): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_HEAD, raw]), format: 'der', type: 'spki' })
}

/**
 * Converts a statement to the bytes to sign. Values that JSON cannot represent (undefined, Dates)
 * are signed in the form that they have after a JSON round trip.
 */
function toBytes(statement: unknown, kind: StatementKind): Buffer {
  const json = JSON.parse(JSON.stringify(statement)) as Json
  return Buffer.from(DOMAINS[kind] + toCanonicalJson(json), 'utf8')
}

export type Json =
  string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json | undefined }

/**
 * Returns JSON in the canonical form of RFC 8785: without white space, with members sorted by the
 * UTF-16 code units of their names, and with numbers and strings as JSON.stringify writes them.
 * Members that are undefined are omitted.
 * @throws TypeError for a number that JSON cannot express
 */
export function toCanonicalJson(value: Json): string {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new TypeError('not a JSON number')
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  if (isList(value)) return `[${value.map(toCanonicalJson).join(',')}]`
  const members = Object.keys(value)
    .sort()
    .flatMap((name) => {
      const member = value[name]
      return member === undefined ? [] : [`${JSON.stringify(name)}:${toCanonicalJson(member)}`]
    })
  return `{${members.join(',')}}`
}

/** Array.isArray does not narrow a readonly array. */
function isList(value: object): value is readonly Json[] {
  return Array.isArray(value)
}
