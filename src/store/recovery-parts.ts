/**
 * A recovery key that no single person holds. It is generated in memory, split among several people
 * with Shamir's secret sharing, and recombined only in memory.
 */
// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { combine, split } from 'shamir-secret-sharing'
import { fingerprint } from './custody.ts'
import { StorageError } from './database.ts'

/** One person's share. */
export interface RecoveryPart {
  readonly format: 'latchkey-recovery-part'
  readonly version: 1
  /** SHA-256 of the recovery key's SubjectPublicKeyInfo, in hex. */
  readonly recoveryKey: string
  /** 1-based part number. */
  readonly part: number
  readonly parts: number
  /** Number of parts required to restore the key. */
  readonly needed: number
  /** Base64. */
  readonly share: string
}

export interface SplitRecoveryKey {
  /** The public key as a SubjectPublicKeyInfo in PEM. */
  readonly publicKey: string
  readonly parts: readonly RecoveryPart[]
}

const RSA_BITS = 3072
const FORMAT = 'latchkey-recovery-part'

/** @param counts numbers from 2 to 255; `needed` may not exceed `parts` */
export async function createRecoveryParts(counts: {
  readonly parts: number
  readonly needed: number
}): Promise<SplitRecoveryKey> {
  const pair = await promisify(generateKeyPair)('rsa', { modulusLength: RSA_BITS })
  const secret = pair.privateKey.export({ format: 'der', type: 'pkcs8' })
  const bytes = toBytes(secret)
  const shares = await split(bytes, counts.parts, counts.needed)
  for (const one of [secret, bytes]) one.fill(0)
  const recoveryKey = fingerprint(pair.publicKey)
  const parts = shares.map((share, i): RecoveryPart => ({
    ...{ format: FORMAT, version: 1, recoveryKey, part: i + 1, ...counts },
    share: Buffer.from(share).toString('base64'),
  }))
  // The key exists only here. Check that the last parts restore it before anything is written.
  await joinRecoveryParts(parts.slice(-counts.needed))
  return { publicKey: pair.publicKey.export({ format: 'pem', type: 'spki' }).toString(), parts }
}

/** Returns undefined if the text is not a part. */
export function parseRecoveryPart(text: string): RecoveryPart | undefined {
  try {
    const part = JSON.parse(text) as Partial<RecoveryPart>
    const isPart = part.format === FORMAT && typeof part.share === 'string'
    return isPart ? (part as RecoveryPart) : undefined
  } catch {
    return undefined
  }
}

/**
 * @throws StorageError MASTER_KEY_WRONG unless the parts restore the recovery key whose fingerprint
 * they carry
 */
export async function joinRecoveryParts(parts: readonly RecoveryPart[]): Promise<KeyObject> {
  const [first] = parts
  if (first === undefined || parts.some((one) => one.recoveryKey !== first.recoveryKey)) {
    throw wrong('the parts belong to different recovery keys')
  }
  const shares = new Map(parts.map(({ part, share }) => [part, Buffer.from(share, 'base64')]))
  if (shares.size < first.needed) {
    throw wrong(
      `expected ${String(first.needed)} different parts of the recovery key, found ${String(shares.size)}`,
    )
  }
  try {
    const secret = Buffer.from(await combine([...shares.values()].map(toBytes)))
    const key = createPrivateKey({ key: secret, format: 'der', type: 'pkcs8' })
    secret.fill(0)
    if (fingerprint(key) === first.recoveryKey) return key
  } catch (cause) {
    throw wrong('a part of the recovery key is damaged', cause)
  }
  throw wrong('a part of the recovery key is damaged')
}

/** The library does not accept subclasses of Uint8Array. */
function toBytes(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer)
}

function wrong(message: string, cause?: unknown): StorageError {
  return new StorageError('MASTER_KEY_WRONG', message, { cause })
}
