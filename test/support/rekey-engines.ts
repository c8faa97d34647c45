/**
 * Provides, for each database engine, a workspace with a store whose tables a test can modify behind Latchkey's back.
 * Also provides a load to run while a test replaces the store key.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import type { Test } from 'tap'
import { openAdministration } from '../../src/app/administration.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import { KeyTable } from '../../src/keys/software/key-table.ts'
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import { appendEvent } from '../../src/store/event-log.ts'
import { openStore, type Store } from '../../src/store/store.ts'
import { type Workspace, workspace } from './cli.ts'
import type { TestPostgres } from './postgres.ts'
import { keyId, REGION } from './server.ts'
import { keyStoreName } from './store.ts'

const DEMO = keyStoreName('demo')

export interface RekeyEngine {
  readonly place: Workspace
  /** Runs SQL as the tables' owner. */
  sql(statement: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>
}

/** Returns, for each database engine, a function that creates a workspace with a store on that engine. */
export function rekeyEngines(
  server: TestPostgres,
): Readonly<Record<string, (t: Test) => Promise<RekeyEngine>>> {
  return {
    async SQLite(t) {
      const place = await workspace(t)
      return {
        place,
        sql(statement, values = []) {
          const database = new Sqlite(join(place.folder, 'latchkey.db'), { timeout: 60_000 })
          try {
            const prepared = database.prepare(statement.replaceAll(/\$\d/g, '?'))
            if (prepared.reader) return Promise.resolve(prepared.all(...values) as [])
            prepared.run(...values)
            return Promise.resolve([])
          } finally {
            database.close()
          }
        },
      }
    },
    async PostgreSQL(t) {
      const { host, port, database, user } = await server.createDatabase()
      const postgres = { host, port, database, user, tls: { mode: 'off' } }
      const settings = {
        store: { postgres, masterKey: { file: 'master.key' }, pollInterval: '50ms' },
      }
      const place = await workspace(t, { settings })
      return {
        place,
        async sql(statement, values = []) {
          const client = new pg.Client({ host, port, database, user })
          await client.connect()
          const { rows } = await client.query(statement, [...values])
          await client.end()
          return rows as Record<string, unknown>[]
        },
      }
    },
  }
}

/** Opens a workspace's store, and closes it when the test ends. */
export async function opened(t: Test, { configFile }: Workspace): Promise<Store> {
  const store = await openStore(await toStoreOptions(await loadConfig(configFile, {})))
  t.teardown(() => store.close())
  return store
}

/** Number of keys that `fill` creates per transaction; it writes the same number of events. */
const SLICE = 1000

/** Creates keys named `key-0`, `key-1` and so on, and the same number of events. */
export async function fill(t: Test, place: Workspace, count: number): Promise<void> {
  const store = await opened(t, place)
  for (let from = 0; from < count; from += SLICE) {
    await fillSlice(store, { from, to: Math.min(count, from + SLICE) })
  }
}

function fillSlice(store: Store, { from, to }: { from: number; to: number }): Promise<void> {
  return store.change(async (transaction, epoch) => {
    const table = new KeyTable(transaction, store.sealing)
    for (let i = from; i < to; i++) {
      const at = { keyStore: DEMO, keyId: keyId(`key-${String(i)}`), createdAt: 1 }
      const rights = { canEncrypt: true, canDecrypt: true, currentVersion: 1 } as const
      await table.insertKey({ ...at, ...rights, status: 'ENABLED' })
      await table.insertVersion({ ...at, version: 1 }, Buffer.alloc(32, i % 256))
    }
    for (let i = from; i < to; i++) {
      const event = { at: i, epoch, kind: 'test', operator: 'o', detail: { i } }
      await appendEvent(transaction, store.sealing, event)
    }
  })
}

/** Returns a client for the key store `demo` with its own credential. */
export async function clientFor(t: Test, place: Workspace, port: number) {
  const administration = await openAdministration(await loadConfig(place.configFile, {}))
  const { accessKeyId, secretAccessKey } = await administration.credentials.create(DEMO)
  await administration.close()
  const client = createKmsSideClient({
    ...{ endpoint: `https://localhost:${String(port)}`, uriPath: '/demo/kms/xks/v1' },
    ...{ accessKeyId, secretAccessKey, region: REGION, caFile: place.caFile, timeoutMs: 20_000 },
  })
  t.teardown(() => client.close())
  return client
}

export type RekeyClient = Awaited<ReturnType<typeof clientFor>>

/**
 * Encrypts with different keys in a loop. Returns a function that stops the loop, and returns every response with a
 * status other than 200 and the number of requests.
 */
export function keepAsking(client: RekeyClient, keys: number) {
  const failures: unknown[] = []
  const stop = new AbortController()
  let count = 0
  const loop = (async () => {
    while (!stop.signal.aborted) {
      const key = `key-${String(1 + (count++ % (keys - 1)))}`
      const answer = await client.encrypt(key, { plaintext: Buffer.alloc(32, 7) })
      if (answer.status !== 200) failures.push(answer)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  return async () => {
    stop.abort()
    await loop
    return { failures, count }
  }
}
