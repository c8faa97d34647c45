/**
 * Tests replacing a fleet's store key when the master key is a passphrase or a token key: three instances keep serving,
 * the command is killed, and an instance starts midway. LATCHKEY_REKEY_KEYS=10000 runs the long version.
 */
// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import { escrowStoreKey, rewrapStore } from '../../src/store/custody.ts'
import { createMasterKey, type MasterKey } from '../../src/store/master-key.ts'
import { rekeyStore } from '../../src/store/rekey.ts'
import { openStore, type StoreOptions } from '../../src/store/store.ts'
import { startLatchkey, type Workspace, workspace } from '../support/cli.ts'
import { backendYaml } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm } from '../support/pkcs11/tokens.ts'
import { startPostgres } from '../support/postgres.ts'
import { clientFor, fill, keepAsking, opened } from '../support/rekey-engines.ts'
import { eventually } from '../support/server.ts'

const KEYS = Number(process.env['LATCHKEY_REKEY_KEYS'] ?? 410)

t.setTimeout(240_000 + KEYS * 50)
const server = await startPostgres(t)
const REKEY = ['store', 'rekey', '--new-store-key', '--yes']

/** Creates a PostgreSQL store with a master key file, then switches it to another kind of master key. */
async function fleetOn(t: Test, move: readonly string[], then: Record<string, unknown>) {
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user, tls: { mode: 'off' } }
  const { backends, masterKey } = then
  const place = await workspace(t, {
    settings: {
      store: {
        postgres,
        masterKey: { file: 'master.key' },
        pollInterval: '50ms',
        maxBackupAge: '0s',
      },
      // The long lease does not expire on a busy machine, so any refusal is due to the rekey.
      control: { lease: '30s' },
      ...(backends === undefined ? {} : { backends }),
    },
  })
  const moved = await place.run('store', 'rekey', '--yes', ...move)
  t.equal(moved.code, 0, moved.stderr)
  const config = parse(await readFile(place.configFile, 'utf8')) as {
    store: Record<string, unknown>
  }
  config.store['masterKey'] = masterKey
  await writeFile(place.configFile, stringify(config))
  return place
}

const KINDS: Readonly<Record<string, (t: Test) => Promise<Workspace>>> = {
  async 'a passphrase'(t) {
    const words = join(t.testdir(), 'words')
    await writeFile(words, 'correct horse\n', { mode: 0o600 })
    return fleetOn(t, ['--new-passphrase', words], { masterKey: { passphrase: { file: words } } })
  },
  async 'a key on a token'(t) {
    const label = 'latchkey master key'
    return fleetOn(t, ['--new-token-key', label], {
      backends: [backendYaml(await createSoftHsm(t), { deadlines: { start: '60s' } })],
      masterKey: { pkcs11: { backend: 'hsm', label } },
    })
  },
}

const recovery = generateKeyPairSync('rsa', { modulusLength: 3072 })

for (const [kind, open] of Object.entries(KINDS)) {
  void t.test(`${kind}: a new store key under three instances`, async (t) => {
    const place = await open(t)
    await fill(t, place, KEYS)
    const publicKey = join(place.folder, 'recovery.pub')
    await writeFile(publicKey, recovery.publicKey.export({ type: 'spki', format: 'pem' }))
    const instances = []
    for (let i = 0; i < 3; i++) instances.push(await place.serve())
    const clients = []
    for (const { port } of instances) clients.push(await clientFor(t, place, port))
    for (const client of clients) {
      await eventually(async () => (await client.getHealthStatus()).status === 200)
    }
    const sealed = await clients[0]?.encrypt('key-0', { plaintext: Buffer.from('a secret') })
    t.equal(sealed?.status, 200)
    const asking = clients.map((client) => keepAsking(client, KEYS))

    const startedAt = performance.now()
    const first = startLatchkey(t, [...REKEY, '--config', place.configFile])
    await eventually(
      () => first.stderr().includes('resealing everything else') || first.process.exitCode !== null,
    )
    await first.ended('SIGKILL')
    t.equal(first.stdout(), '', `it did not end by itself: ${first.stderr()}`)
    const escrow = join(place.folder, 'escrow.json')
    t.match(
      await place.run('store', 'escrow', escrow, '--to', publicKey),
      { code: 69, stderr: /the store key is being replaced/ },
      'no escrow in the middle',
    )
    const late = await place.serve()
    t.match(late.running.stdout(), /"gate":"open"/, 'an instance starts with both keys')
    await late.running.ended('SIGTERM')

    const done = await place.run(...REKEY)
    t.match(done, { code: 0, stdout: /the store has a new key/ }, done.stderr)
    for (const stop of asking) {
      const { failures, count } = await stop()
      t.same(failures, [], 'nothing was refused')
      t.ok(count > 10, `${String(count)} requests`)
    }
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
    t.comment(`${String(KEYS)} keys: ${seconds} s, ${done.stdout.trim()}`)
    for (const client of clients) {
      t.equal((await client.decrypt('key-0', sealed?.body as never)).status, 200)
    }
    await (await opened(t, place)).audit()
    t.match(await place.run('store', 'escrow', escrow, '--to', publicKey), { code: 0 })
    for (const { running } of instances) await running.ended('SIGTERM')
    const again = await place.serve()
    t.match(again.running.stdout(), /"gate":"open"/)
  })
}

/** Replaces the store key completely, as another process would if no instances were running. */
const replace = (options: StoreOptions) =>
  rekeyStore(options, {
    clock: options.clock,
    waitForKey: () => Promise.resolve([]),
    waitForEpoch: () => Promise.resolve([]),
    isServed: () => Promise.resolve(false),
  })

void t.test('a store key that is replaced while another command wraps it', async (t) => {
  const place = await workspace(t)
  const options = await toStoreOptions(await loadConfig(place.configFile, {}))
  const masterKey = createMasterKey(options.masterKey)
  const busy = { code: 'STORE_BUSY', message: /another process replaced a key of the store/ }
  const opens = async () => {
    const store = await openStore(options)
    await store.audit()
    await store.close()
  }
  /** Returns a master key that is so slow that the store key is replaced during a call to `method`. */
  const slow = (method: keyof MasterKey): MasterKey => ({
    async wrap(key) {
      if (method === 'wrap') await replace(options)
      return masterKey.wrap(key)
    },
    async unwrap(record) {
      const key = await masterKey.unwrap(record)
      if (method === 'unwrap') await replace(options)
      return key
    },
  })
  await t.rejects(rewrapStore(options, { kind: 'pkcs11', key: slow('wrap') }), busy)
  await opens()
  await t.rejects(
    escrowStoreKey(
      { ...options, masterKey: { kind: 'pkcs11', key: slow('unwrap') } },
      recovery.publicKey,
    ),
    busy,
    'no escrow of a key that opens nothing',
  )
  await opens()
})
