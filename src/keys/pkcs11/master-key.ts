/** A master key on a token. It wraps and unwraps the store key and never leaves the token. */
// SPDX-License-Identifier: Apache-2.0
import { Deadline } from '../../core/deadline.ts'
import { silentLogger } from '../../core/logger.ts'
import type { Pkcs11BackendConfig } from '../../config/config.ts'
import { StorageError } from '../../store/database.ts'
import type { MasterKey } from '../../store/master-key.ts'
import { encodeFields } from '../../store/encoding.ts'
import { BackendError } from '../errors.ts'
import { openPkcs11Keys, type Pkcs11Keys, type Pkcs11KeysDeps } from './pkcs11-keys.ts'
import { DECRYPT, ENCRYPT } from './wire/protocol.ts'

const KIND = 'pkcs11'
/**
 * Timeout in milliseconds for calls that a server or command makes at startup, outside the request
 * path.
 */
const DEADLINE_MS = 30_000
const NONE = Buffer.alloc(0)

interface TokenRecord {
  readonly kind: string
  readonly label: string
  readonly iv: string
  readonly wrapped: string
}

/** Opens and closes the token for each use, because a process opens the store only once. */
export function createTokenMasterKey(
  deps: Pick<Pkcs11KeysDeps, 'config' | 'clock'>,
  label: string,
): MasterKey {
  const { clock } = deps
  const soon = () => new Deadline(clock, DEADLINE_MS)

  async function withKeys<T>(work: (keys: Pkcs11Keys) => Promise<T>): Promise<T> {
    const keys = await openPkcs11Keys({
      config: toConfig(deps.config),
      clock,
      logger: silentLogger,
      selfTest: undefined,
      ownKey: label,
    })
    try {
      return await work(keys)
    } finally {
      keys.close()
    }
  }

  return {
    wrap: (storeKey) =>
      withKeys(async ({ fleet }) => {
        await ensureKey({ fleet }, label, soon())
        const parts = [Buffer.from(label), NONE, toAad(label), storeKey, NONE]
        const { parts: made } = await fleet.send(ENCRYPT, 0, parts, soon())
        const [iv = NONE, wrapped = NONE] = made
        return JSON.stringify({
          kind: KIND,
          label,
          iv: iv.toString('base64'),
          wrapped: wrapped.toString('base64'),
        } satisfies TokenRecord)
      }),
    unwrap: (text) =>
      withKeys(async ({ fleet }) => {
        const record = parseRecord(text)
        const bytes = [record.iv, record.wrapped].map((part) => Buffer.from(part, 'base64'))
        const parts = [Buffer.from(label), NONE, toAad(record.label), ...bytes]
        try {
          const { parts: opened } = await fleet.send(DECRYPT, 0, parts, soon())
          return Buffer.from(opened[0] ?? NONE)
        } catch (error) {
          throw toStorageError(error, label)
        }
      }),
  }
}

function toConfig(config: Pkcs11BackendConfig): Pkcs11BackendConfig {
  return {
    ...config,
    sessions: { min: 1, max: 1 },
    keys: { ...config.keys, by: 'label' },
    deadlines: { ...config.deadlines, operationMs: DEADLINE_MS },
  }
}

async function ensureKey(
  { fleet }: Pick<Pkcs11Keys, 'fleet'>,
  label: string,
  deadline: Deadline,
): Promise<void> {
  try {
    await fleet.call({ call: 'describe', name: label, search: [] }, deadline)
  } catch (error) {
    if (!(error instanceof BackendError && error.code === 'KEY_NOT_FOUND')) throw error
    if (fleet.single === undefined) {
      throw new BackendError('MISCONFIGURED', `no token has the key ${JSON.stringify(label)}`, {
        hint: "create the key with the vendor's tools, so that every token has the same key",
      })
    }
    const usage = { canEncrypt: true, canDecrypt: true }
    await fleet.call({ call: 'create', name: label, version: 1, ...usage }, deadline)
  }
}

/** Builds the AAD, which authenticates the values stored next to the wrapped key. */
function toAad(label: string): Buffer {
  return encodeFields(['latchkey master key v1', KIND, label])
}

function parseRecord(text: string): TokenRecord {
  let record: Partial<TokenRecord> | null
  try {
    record = JSON.parse(text) as Partial<TokenRecord> | null
  } catch {
    record = null
  }
  if (typeof record?.kind !== 'string') {
    throw new StorageError('STORE_TAMPERED', 'cannot parse the master key record')
  }
  const { kind, label, iv, wrapped } = record
  if (kind !== KIND) {
    throw new StorageError(
      'MASTER_KEY_WRONG',
      `the store has a master key of kind ${kind}, but the configuration names one of kind ${KIND}`,
    )
  }
  if (typeof label !== 'string' || typeof iv !== 'string' || typeof wrapped !== 'string') {
    throw new StorageError('STORE_TAMPERED', 'cannot parse the master key record')
  }
  return { kind, label, iv, wrapped }
}

function toStorageError(error: unknown, label: string): unknown {
  if (!(error instanceof BackendError)) return error
  if (error.code === 'INTEGRITY_FAILURE') {
    return new StorageError('MASTER_KEY_WRONG', 'the master key does not open this store', {
      hint: 'the token has a different key with that label; use the token that the store was created with',
      cause: error,
    })
  }
  if (error.code !== 'KEY_NOT_FOUND') return error
  return new StorageError(
    'MASTER_KEY_UNREADABLE',
    `the token has no key ${JSON.stringify(label)}`,
    { cause: error },
  )
}
