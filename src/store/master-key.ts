/** The master key unwraps the store key, and the store key opens everything else in the store. */
// SPDX-License-Identifier: Apache-2.0
import { createSecretKey, randomBytes, scrypt, type KeyObject } from 'node:crypto'
import { open, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import type { Secret } from '../core/secret.ts'
import { StorageError } from './database.ts'
import { encodeFields } from './encoding.ts'
import { seal, unseal } from './sealing.ts'

export type MasterKeySource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'passphrase'; readonly passphrase: Secret }
  /** A token holds the key, and wraps and unwraps the store key. */
  | { readonly kind: 'pkcs11'; readonly key: MasterKey }
  /** The private key of an escrow opens the store's key (custody.ts). */
  | { readonly kind: 'escrow'; readonly key: MasterKey }

/** Wraps and unwraps the store key. */
export interface MasterKey {
  /**
   * Returns the text to store: the wrapped store key and everything needed to unwrap it, except the
   * secret.
   */
  wrap(storeKey: Buffer): Promise<string>
  /** @throws StorageError MASTER_KEY_WRONG */
  unwrap(record: string): Promise<Buffer>
}

const KEY_BYTES = 32
/** OWASP's first scrypt recommendation: about 0.3 s and 128 MiB, once at startup. */
const SCRYPT = { N: 131_072, r: 8, p: 1 }
const SCRYPT_MAX_MEMORY = 256 * 1024 * 1024
/** Highest accepted cost, as a multiple of the cost above. */
const MAX_COST = 4

interface KeyRecord {
  readonly kind: MasterKeySource['kind']
  readonly scrypt?: {
    readonly N: number
    readonly r: number
    readonly p: number
    readonly salt: string
  }
  readonly wrapped: string
}

export function createMasterKey(source: MasterKeySource): MasterKey {
  if (source.kind === 'pkcs11' || source.kind === 'escrow') return source.key
  const derive = (parameters: KeyRecord['scrypt']) =>
    source.kind === 'file'
      ? loadKeyFile(source.path)
      : deriveFromPassphrase(source.passphrase, parameters)
  return {
    async wrap(storeKey) {
      const parameters =
        source.kind === 'file' ? undefined : { ...SCRYPT, salt: randomBytes(16).toString('base64') }
      const head = {
        kind: source.kind,
        ...(parameters === undefined ? {} : { scrypt: parameters }),
      }
      const wrapped = seal(await derive(parameters), toAad(head), storeKey)
      return JSON.stringify({ ...head, wrapped } satisfies KeyRecord)
    },
    async unwrap(text) {
      const { wrapped, ...head } = parseRecord(text)
      if (head.kind !== source.kind) {
        throw new StorageError(
          'MASTER_KEY_WRONG',
          `the store has a master key of kind ${head.kind}, but the configuration names one of kind ${source.kind}`,
        )
      }
      const storeKey = unseal(await derive(head.scrypt), toAad(head), wrapped)
      if (storeKey === undefined) {
        throw new StorageError('MASTER_KEY_WRONG', 'the master key does not open this store', {
          hint: 'restore the store and its master key from the same backup',
        })
      }
      return storeKey
    },
  }
}

/**
 * The tag covers the parameters stored next to the wrapped key, so unwrapping fails if they were
 * weakened.
 */
function toAad(head: Omit<KeyRecord, 'wrapped'>): Buffer {
  return encodeFields(['latchkey master key v1', JSON.stringify(head)])
}

function parseRecord(text: string): KeyRecord {
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch {
    record = undefined
  }
  if (isKeyRecord(record)) return record
  throw new StorageError('STORE_TAMPERED', 'cannot parse the master key record')
}

/** Checks the record's shape and cost; scrypt and the authentication tag check its values. */
function isKeyRecord(record: unknown): record is KeyRecord {
  if (typeof record !== 'object' || record === null) return false
  const { kind, wrapped, scrypt: parameters } = record as Record<string, unknown>
  const hasShape = typeof kind === 'string' && typeof wrapped === 'string'
  return hasShape && (parameters === undefined || isAffordable(parameters))
}

/**
 * An attacker who can write to the database could plant parameters with which scrypt runs for
 * hours. The limit leaves room for a later release that derives keys at a higher cost.
 */
function isAffordable(parameters: unknown): boolean {
  if (typeof parameters !== 'object' || parameters === null) return false
  const { N, r, p, salt } = parameters as Record<string, unknown>
  const cost = Number(N) * Number(r) * Number(p)
  return typeof salt === 'string' && cost <= MAX_COST * SCRYPT.N * SCRYPT.r * SCRYPT.p
}

async function deriveFromPassphrase(
  passphrase: Secret,
  parameters: KeyRecord['scrypt'],
): Promise<KeyObject> {
  if (parameters === undefined)
    throw new StorageError('STORE_TAMPERED', 'the scrypt parameters are missing')
  const { N, r, p, salt } = parameters
  const derive = promisify<string, Buffer, number, object, Buffer>(scrypt)
  const words = passphrase.reveal().normalize('NFC')
  try {
    const cost = { N, r, p, maxmem: SCRYPT_MAX_MEMORY }
    return createSecretKey(await derive(words, Buffer.from(salt, 'base64'), KEY_BYTES, cost))
  } catch (cause) {
    throw new StorageError('STORE_TAMPERED', 'the scrypt parameters are invalid', { cause })
  }
}

/**
 * @throws StorageError MASTER_KEY_UNREADABLE unless the file contains 32 bytes and only its owner
 * can read it
 */
async function loadKeyFile(path: string): Promise<KeyObject> {
  const unreadable = (why: string, hint?: string) =>
    new StorageError('MASTER_KEY_UNREADABLE', `${path}: ${why}`, hint === undefined ? {} : { hint })
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw unreadable('the master key file does not exist')
  if ((found.mode & 0o077) !== 0) {
    throw unreadable('others can read the master key', `chmod 600 ${path}`)
  }
  const bytes = await readFile(path).catch(() => undefined)
  if (bytes?.length !== KEY_BYTES) {
    const found =
      bytes === undefined ? 'found a file that cannot be read' : `found ${String(bytes.length)}`
    throw unreadable(`expected a master key file of ${String(KEY_BYTES)} bytes, ${found}`)
  }
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}

/**
 * Creates a file of 32 random bytes with mode 0600, which is durable once the promise resolves.
 * Never overwrites a file.
 */
export async function createMasterKeyFile(path: string): Promise<void> {
  const bytes = randomBytes(KEY_BYTES)
  const file = await open(path, 'wx', 0o600)
  try {
    await file.write(bytes)
    await file.sync()
  } finally {
    await file.close()
    bytes.fill(0)
  }
  await syncFolder(path)
}

/** A new directory entry is durable only once the directory is synced. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
