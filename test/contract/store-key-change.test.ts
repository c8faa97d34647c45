/**
 * Tests an open store, on both engines, while another process replaces the store key. The handle loads the new key or
 * reports that it cannot, but never mistakes the replacement for tampering.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import { pause } from '../../src/core/deadline.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { loadBackup, writeBackup } from '../../src/store/backup.ts'
import { TABLES } from '../../src/store/backup-file.ts'
import type { Reader } from '../../src/store/database.ts'
import { createMasterKey, type MasterKey } from '../../src/store/master-key.ts'
import { type RekeyDeps, type RekeyStage, rekeyStore } from '../../src/store/rekey.ts'
import { loadContents } from '../../src/store/contents.ts'
import { KEYS } from '../../src/store/sealed-tables.ts'
import { openStore, type Store, type StoreOptions } from '../../src/store/store.ts'
import type { Workspace } from '../support/cli.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import { opened, type RekeyEngine, rekeyEngines } from '../support/rekey-engines.ts'
import { eventually } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'

t.setTimeout(240_000)
const server = await startPostgres(t)
const ENGINES = rekeyEngines(server)

/** Replaces the store key as another process would if no instance were running. */
function replace(options: StoreOptions, onStage?: (stage: RekeyStage) => void): Promise<number> {
  const deps: RekeyDeps = {
    clock: options.clock,
    waitForKey: () => Promise.resolve([]),
    waitForEpoch: () => Promise.resolve([]),
    isServed: () => Promise.resolve(false),
    ...(onStage === undefined ? {} : { onStage }),
  }
  return rekeyStore(options, deps)
}

const STAGES: readonly RekeyStage[] = ['announced', 'switched', 'rewrapped', 'finished']

/** Runs the replacement of the store key up to a stage, and then crashes. */
async function replaceUpTo(t: Test, options: StoreOptions, at: RekeyStage): Promise<void> {
  if (at === 'finished') {
    await replace(options)
    return
  }
  const crash = replace(options, (stage) => {
    if (stage === at) throw new Error(`crashed: ${at}`)
  })
  await t.rejects(crash, /crashed/)
}

async function optionsOf({ configFile }: Workspace): Promise<StoreOptions> {
  return toStoreOptions(await loadConfig(configFile, {}))
}

const order = (reason: string) =>
  ({
    scope: { kind: 'key-store', keyStore: keyStoreName('demo') },
    direction: 'both',
    operator: 'o',
    reason,
  }) as const

/** How long the token takes, in milliseconds: longer than PostgreSQL lets a Latchkey transaction stay idle. */
const TOKEN_MS = 3000

/** Waits within a snapshot, and keeps the snapshot busy, because the server would end an idle transaction. */
async function keepingAlive(reader: Reader, work: Promise<unknown>): Promise<void> {
  const done = new AbortController()
  void work
    .catch(() => undefined)
    .finally(() => {
      done.abort()
    })
  while (!done.signal.aborted) {
    await reader.query('SELECT 1 AS alive')
    await pause(20)
  }
  await work
}

/** Deletes everything at the store's location, as if the store had been lost. */
async function emptyStore(
  { place, sql }: RekeyEngine,
  options: StoreOptions,
): Promise<StoreOptions> {
  if (options.postgres === undefined) return { ...options, path: join(place.folder, 'new.db') }
  for (const { name } of TABLES.toReversed()) await sql(`DELETE FROM ${name}`)
  return options
}

/** Does everything that a long-lived handle does, several operations at a time. */
async function useAll(t: Test, store: Store, options: StoreOptions, what: string): Promise<void> {
  const feed = store.feed(KEYS)
  const uses = await Promise.allSettled([
    store.contents(),
    store.tables(KEYS),
    feed.update(() => undefined),
    kill(store, options.clock, { ...order(what), until: Date.now() + 3_600_000 }),
    store.audit(),
    store.contents(),
  ])
  const errors = uses.map((use) => (use.status === 'rejected' ? String(use.reason) : 'done'))
  t.same(
    errors,
    uses.map(() => 'done'),
    what,
  )
  t.equal(store.fault, undefined, `${what}: no fault`)
  t.equal(store.missingKey, undefined, `${what}: no missing key`)
}

for (const [name, open] of Object.entries(ENGINES)) {
  for (const stage of STAGES) {
    void t.test(`${name}: a handle with the old key after "${stage}"`, async (t) => {
      const { place } = await open(t)
      const options = await optionsOf(place)
      const held = await opened(t, place)
      await replaceUpTo(t, options, stage)
      await useAll(t, held, options, stage)
      await replace(options)
      await useAll(t, held, options, `${stage}, then finished`)
      await replace(options)
      await useAll(t, held, options, `${stage}, then another one`)
      const fresh = await opened(t, place)
      await fresh.audit()
    })
  }

  void t.test(`${name}: a snapshot older than the key that the handle took up`, async (t) => {
    const { place } = await open(t)
    const options = await optionsOf(place)
    const held = await opened(t, place)
    let attempts = 0
    const read = held.database.snapshot(async (reader) => {
      attempts += 1
      await reader.query('SELECT count(*) AS count FROM facts')
      if (attempts === 1) {
        await keepingAlive(reader, replace(options))
        await held.change(() => Promise.resolve())
        await t.rejects(held.refreshKeys(reader), { code: 'STORE_BUSY' }, 'keys never go back')
      }
      return loadContents(reader, held.sealing)
    })
    await t.resolves(read)
    t.equal(attempts, 2)
    await useAll(t, held, options, 'afterwards')
  })

  void t.test(`${name}: a master key that is away for a moment`, async (t) => {
    const { place } = await open(t)
    const options = await optionsOf(place)
    // The clock stands still, so that no failed attempt counts as slow.
    const held = await openStore({ ...options, clock: new FakeClock() })
    t.teardown(() => held.close())
    const feed = held.feed(KEYS)
    await feed.update(() => undefined)
    await replace(options)
    const file = join(place.folder, 'master.key')
    await rename(file, `${file}.away`)
    const uses: Readonly<Record<string, () => Promise<unknown>>> = {
      contents: () => held.contents(),
      feed: () => feed.update(() => undefined),
      audit: () => held.audit(),
      kill: () => kill(held, options.clock, order('away')),
    }
    for (const [use, run] of Object.entries(uses)) {
      await t.rejects(run(), { code: 'MASTER_KEY_UNREADABLE' }, use)
    }
    await writeFile(file, randomBytes(32), { mode: 0o600 })
    for (const [use, run] of Object.entries(uses)) {
      await t.rejects(run(), { code: 'MASTER_KEY_WRONG' }, use)
    }
    t.equal(held.fault, undefined, 'nothing is held against the store')
    t.match(held.missingKey, { code: 'MASTER_KEY_WRONG' })
    await rename(`${file}.away`, file)
    await useAll(t, held, options, 'once it is back')
    await feed.update(() => undefined)
  })

  void t.test(`${name}: a fault ends once the store is repaired`, async (t) => {
    const { place, sql } = await open(t)
    const options = await optionsOf(place)
    const held = await opened(t, place)
    const feed = held.feed(KEYS)
    await sql('UPDATE external_keys SET can_decrypt = 1 - can_decrypt')
    await t.rejects(
      feed.update(() => undefined),
      { code: 'STORE_TAMPERED' },
    )
    t.match(held.fault, { code: 'STORE_TAMPERED' })
    await t.rejects(
      feed.update(() => undefined),
      { code: 'STORE_TAMPERED' },
    )
    await sql('UPDATE external_keys SET can_decrypt = 1 - can_decrypt')
    await eventually(() =>
      feed
        .update(() => undefined)
        .then(
          () => true,
          () => false,
        ),
    )
    await useAll(t, held, options, 'repaired')
  })

  void t.test(`${name}: the token with the master key is slow`, async (t) => {
    const { place } = await open(t)
    const options = await optionsOf(place)
    const real = createMasterKey(options.masterKey)
    let slow = 0
    const key: MasterKey = {
      wrap: (storeKey) => real.wrap(storeKey),
      async unwrap(record) {
        slow += 1
        await pause(TOKEN_MS)
        return real.unwrap(record)
      },
    }
    const slowly: StoreOptions = { ...options, masterKey: { kind: 'pkcs11', key } }
    const held = await openStore(slowly)
    t.teardown(() => held.close())
    await replace(options)
    await t.resolves(kill(held, options.clock, order('slow')), 'a kill')
    await replace(options)
    await t.resolves(held.contents(), 'a read')
    t.equal(slow, 3)
    const backup = join(place.folder, 'slow.jsonl')
    await replaceUpTo(t, options, 'switched')
    await writeBackup(held, backup, { createdAt: Date.now(), release: 'test' })
    const target = await open(t)
    const empty = await emptyStore(target, await optionsOf(target.place))
    await t.resolves(loadBackup(backup, { ...empty, masterKey: slowly.masterKey }), 'a recovery')
  })
}
