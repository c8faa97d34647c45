/** Fills a control store with many keys, credentials and switches, changing thousands of rows at a time. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { toStoreOptions } from '../../src/app/store.ts'
import type { Config } from '../../src/config/config.ts'
import { parseExternalKeyId } from '../../src/core/ids.ts'
import { KeyTable } from '../../src/keys/software/key-table.ts'
import { SwitchTable } from '../../src/killswitch/switch-table.ts'
import { CREDENTIALS } from '../../src/store/sealed-tables.ts'
import { insertRow } from '../../src/store/sealed-transaction.ts'
import { openStore } from '../../src/store/store.ts'

/** Contents of a store. The first key store has half of the keys. */
export interface Size {
  readonly keys: number
  readonly credentials: number
  readonly keyStores: number
  readonly switches: number
}

/**
 * Returns a store size with this many keys. The other counts are in proportion to 100,000 keys, 10,000 credentials, 500
 * key stores and 10,000 switches.
 */
export function sizeOf(keys: number): Size {
  const share = (of: number) => Math.max(1, Math.round(keys / of))
  return { keys, credentials: share(10), keyStores: share(200), switches: share(10) }
}

const ROWS_PER_CHANGE = 5000
const AT_A_TIME = 200
const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

export function keyIdOf(i: number): string {
  return `key-${String(i).padStart(6, '0')}`
}

/** Returns the index of the key store that contains a key. Even-numbered keys are in the first one. */
export function keyStoreOf(i: number, { keyStores }: Size): number {
  return i % 2 === 0 || keyStores === 1 ? 0 : 1 + (((i - 1) / 2) % (keyStores - 1))
}

/** @param config a configuration with the key stores for this size */
export async function fill(config: Config, size: Size): Promise<void> {
  const store = await openStore(await toStoreOptions(config))
  const nameOf = (index: number) => {
    const name = config.keyStores[index]?.name
    if (name === undefined) throw new TypeError(`key store ${String(index)} does not exist`)
    return name
  }
  const createdAt = Date.now()
  try {
    for (const from of steps(size.keys)) {
      await store.change(async (transaction) => {
        const table = new KeyTable(transaction, store.sealing)
        await forEach(from, size.keys, async (i) => {
          const keyId = parseExternalKeyId(keyIdOf(i))
          if (keyId === undefined) throw new TypeError('not a key id')
          const keyStore = nameOf(keyStoreOf(i, size))
          await table.insertKey({
            ...{ keyStore, keyId, status: 'ENABLED', canEncrypt: true, canDecrypt: true },
            ...{ currentVersion: 1, createdAt },
          })
          const at = { keyStore, keyId, version: 1, createdAt }
          await table.insertVersion(at, randomBytes(32))
        })
      })
    }
    for (const from of steps(size.credentials)) {
      await store.change(async (transaction) => {
        await forEach(from, size.credentials, async (i) => {
          const accessKeyId = randomId()
          const keyStore = nameOf(i % size.keyStores)
          const secret = Buffer.from(randomBytes(32).toString('base64'))
          await insertRow(transaction, store.sealing, CREDENTIALS, {
            access_key_id: accessKeyId,
            key_store: keyStore,
            secret: store.sealing.wrap(['credential', accessKeyId, keyStore], secret),
            ...{ created_at: createdAt, expires_at: null, revoked_at: null },
          })
        })
      })
    }
    for (const from of steps(size.switches)) {
      await store.change(async (transaction, epoch) => {
        const table = new SwitchTable(transaction, store.sealing)
        await forEach(from, size.switches, async (i) => {
          // The switches cover keys that do not exist, so they block no request.
          const scope = { kind: 'key', keyStore: nameOf(0), keyId: `killed-${String(i)}` } as const
          await table.insertSwitch({
            ...{ id: `switch-${String(i)}`, scope, direction: 'both', reason: 'benchmark' },
            ...{ operator: 'benchmark', createdAt, epoch },
          })
        })
      })
    }
  } finally {
    await store.close()
  }
}

/** Runs `work` for the rows of one change. Several calls run concurrently, so that SQLite's thread never waits. */
async function forEach(from: number, end: number, work: (i: number) => Promise<void>) {
  const until = Math.min(from + ROWS_PER_CHANGE, end)
  for (let at = from; at < until; at += AT_A_TIME) {
    const count = Math.min(AT_A_TIME, until - at)
    await Promise.all(Array.from({ length: count }, (_, i) => work(at + i)))
  }
}

function steps(count: number): readonly number[] {
  return Array.from({ length: Math.ceil(count / ROWS_PER_CHANGE) }, (_, i) => i * ROWS_PER_CHANGE)
}

function randomId(): string {
  return Array.from(randomBytes(26), (byte) => BASE32.charAt(byte & 31)).join('')
}
