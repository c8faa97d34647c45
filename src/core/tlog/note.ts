/**
 * Signed notes (c2sp.org/signed-note) with Ed25519, and the cosignatures of witnesses over them
 * (c2sp.org/tlog-cosignature).
 */
// SPDX-License-Identifier: Apache-2.0
import { hash, type KeyObject, sign, verify } from 'node:crypto'
import { parseBase64 } from '../base64.ts'
import { importPublicKey, importSeed } from '../signature.ts'

/**
 * Signature types in the specification: a plain Ed25519 signature, and a cosignature with a
 * timestamp.
 */
const TYPES = { note: 0x01, cosignature: 0x04 } as const
export type KeyType = keyof typeof TYPES

/** A signer's name and public key, which a verifier needs to check its signatures. */
export interface NoteKey {
  readonly name: string
  readonly type: KeyType
  /** Four bytes. */
  readonly id: Buffer
  readonly publicKey: KeyObject
}

export interface NoteSigner {
  readonly name: string
  /** The verifier key as text: `name+id+key`. */
  readonly verifierKey: string
  /**
   * Returns one signature line.
   * @param text the text to sign, which ends with a line break
   */
  sign(text: string): string
}

export interface SignatureLine {
  readonly name: string
  /** Key id and signature. */
  readonly bytes: Buffer
}

export interface Note {
  /** The signed text, which ends with a line break. */
  readonly text: string
  readonly signatures: readonly SignatureLine[]
}

const SPACE = 0x20
const LINE_FEED = 0x0a
const NAME = /^[^\s+\p{Zs}]+$/u

function toKeyId(name: string, type: KeyType, key: Buffer): Buffer {
  const bytes = Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([TYPES[type]]), key])
  return hash('sha256', bytes, 'buffer').subarray(0, 4)
}

/**
 * @param seed 32 bytes, the private key of RFC 8032
 * @param now wall time in milliseconds, for the time of a cosignature
 */
export function createNoteSigner(
  name: string,
  seed: Buffer,
  type: KeyType = 'note',
  now: () => number = () => 0,
): NoteSigner {
  if (!NAME.test(name)) throw new RangeError('a key name must not contain spaces or plus signs')
  const { privateKey, rawPublicKey: raw } = importSeed(seed)
  const id = toKeyId(name, type, raw)
  const material = Buffer.concat([Buffer.from([TYPES[type]]), raw]).toString('base64')
  return {
    name,
    verifierKey: `${name}+${id.toString('hex')}+${material}`,
    sign(text) {
      const seconds = Math.floor(now() / 1000)
      const time = type === 'note' ? Buffer.alloc(0) : toUint64(seconds)
      const signature = sign(null, toSignedBytes(type, text, seconds), privateKey)
      return `\u2014 ${name} ${Buffer.concat([id, time, signature]).toString('base64')}\n`
    },
  }
}

function toUint64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

function toSignedBytes(type: KeyType, text: string, seconds: number | bigint): Buffer {
  const head = type === 'note' ? '' : `cosignature/v1\ntime ${String(seconds)}\n`
  return Buffer.from(head + text)
}

/** Returns undefined if the text is not a verifier key of a known type. */
export function parseVerifierKey(text: string): NoteKey | undefined {
  const [, name = '', id = '', material = ''] = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? []
  const bytes = parseBase64(material)
  const type = (Object.keys(TYPES) as KeyType[]).find((one) => TYPES[one] === bytes?.[0])
  if (!NAME.test(name) || bytes?.length !== 33 || type === undefined) return undefined
  const raw = bytes.subarray(1)
  const expected = toKeyId(name, type, raw)
  if (expected.toString('hex') !== id) return undefined
  return { name, type, id: expected, publicKey: importPublicKey(raw) }
}

/** Returns undefined if the text is not a signed note. */
export function parseNote(text: string): Note | undefined {
  const end = text.lastIndexOf('\n\n')
  const hasControls = Buffer.from(text).some((byte) => byte < SPACE && byte !== LINE_FEED)
  if (end < 0 || !text.endsWith('\n') || hasControls) return undefined
  const lines = text.slice(end + 2, -1).split('\n')
  const signatures: SignatureLine[] = []
  for (const line of lines) {
    const [, name = '', base64 = ''] = /^\u2014 (\S+) (\S+)$/u.exec(line) ?? []
    const bytes = parseBase64(base64)
    if (!NAME.test(name) || bytes === undefined || bytes.length < 5) return undefined
    signatures.push({ name, bytes })
  }
  return { text: text.slice(0, end + 1), signatures }
}

/**
 * Returns the keys that signed the note. Signatures of unknown keys are ignored. Returns undefined
 * if the signature of a known key is wrong, because then the whole note is invalid.
 */
export function verifyNote(note: Note, keys: readonly NoteKey[]): readonly NoteKey[] | undefined {
  const signers = new Set<NoteKey>()
  for (const { name, bytes } of note.signatures) {
    const id = bytes.subarray(0, 4)
    const key = keys.find((one) => one.name === name && one.id.equals(id))
    if (key === undefined) continue
    if (!isSignedBy(key, note.text, bytes.subarray(4))) return undefined
    signers.add(key)
  }
  return [...signers]
}

function isSignedBy({ type, publicKey }: NoteKey, text: string, bytes: Buffer): boolean {
  const timeBytes = type === 'note' ? 0 : 8
  if (bytes.length !== timeBytes + 64) return false
  const seconds = type === 'note' ? 0 : bytes.readBigUInt64BE()
  return verify(null, toSignedBytes(type, text, seconds), publicKey, bytes.subarray(timeBytes))
}
