/** Tests replacing the store key on both engines while a server is running, and killing the command at every stage. */
// SPDX-License-Identifier: Apache-2.0
import { generateKeyPairSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import { openSigner } from '../../src/killswitch/receipt/signing-key.ts'
import { type RekeyDeps, type RekeyStage, rekeyStore } from '../../src/store/rekey.ts'
import { openStore, type StoreOptions } from '../../src/store/store.ts'
import { startLatchkey, type Workspace, workspace } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { clientFor, fill, keepAsking, opened, rekeyEngines } from '../support/rekey-engines.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(300_000)
const server = await startPostgres(t)
/** Number of keys, which exceeds the number of keys or events that one transaction reseals. */
const KEYS = 210
const REKEY = ['store', 'rekey', '--new-store-key', '--yes']
/** The command's stages, each with the output that triggers the kill. */
const STAGES = [
  ['announced', /waiting until every instance/],
  ['switched', /resealing everything else/],
  ['rewrapped', /waiting for every instance to use it/],
] as const
const DONE = /the store has a new key/

const ENGINES = rekeyEngines(server)

async function makeEscrow({ folder, run }: Workspace): Promise<readonly string[]> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 3072,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  const file = (name: string) => join(folder, name)
  await writeFile(file('recovery.pub'), publicKey)
  await writeFile(file('recovery.pem'), privateKey, { mode: 0o600 })
  await run('store', 'escrow', file('escrow.json'), '--to', file('recovery.pub'))
  return ['--escrow', file('escrow.json'), '--recovery-key', file('recovery.pem')]
}

for (const [name, open] of Object.entries(ENGINES)) {
  void t.test(`${name}: a new store key under a server, killed in the middle`, async (t) => {
    const { place, sql } = await open(t)
    await fill(t, place, KEYS)
    const escrow = await makeEscrow(place)
    const masterKeyOf = async () =>
      (await sql("SELECT value FROM facts WHERE name = 'master_key'"))[0]?.['value']
    const before = await masterKeyOf()
    const { publicKey } = await openSigner(await opened(t, place))
    const { running, port } = await place.serve()
    const client = await clientFor(t, place, port)
    await eventually(async () => (await client.getHealthStatus()).status === 200)
    const sealed = await client.encrypt('key-0', { plaintext: Buffer.from('a secret') })
    t.equal(sealed.status, 200)
    const stopAsking = keepAsking(client, KEYS)

    /**
     * Checks that the kill switch works at this stage, and that a backup taken now is valid even if its rows are sealed
     * under both keys.
     */
    const checkUse = async (stage: string) => {
      const words = ['--key-store', 'demo', '--key', 'key-0']
      const killed = await place.run('kill', ...words, '--reason', stage)
      t.match(killed, { code: 0, stdout: /^revoked/m }, `${stage}: ${killed.stderr}`)
      const refused = await client.decrypt('key-0', sealed.body as never)
      t.not(refused.status, 200, `${stage}: refused after the kill`)
      const lifted = await place.run('restore', ...words, '--reason', stage, '--yes')
      t.equal(lifted.code, 0, `${stage}: ${lifted.stderr}`)
      if (stage !== 'switched') return
      const backup = join(place.folder, `${stage}.jsonl`)
      const made = await place.run('store', 'backup', backup)
      t.match(made, { code: 0 }, `${stage}: ${made.stderr}`)
    }
    for (const [stage, note] of name === 'SQLite' ? STAGES : STAGES.slice(1, 2)) {
      const words = [...REKEY, '--config', place.configFile]
      const rekey = startLatchkey(t, words)
      await eventually(() => note.test(rekey.stderr()) || rekey.process.exitCode !== null)
      await rekey.ended('SIGKILL')
      t.equal(rekey.stdout(), '', `${stage}: it did not end by itself`)
      const [found] = await sql("SELECT count(*) AS rows FROM facts WHERE name = 'rekey'")
      t.equal(Number(found?.['rows']), 1, `${stage}: it is not complete`)
      await checkUse(stage)
      t.match(
        await place.run(
          'store',
          'rekey',
          '--yes',
          '--new-master-key',
          join(place.folder, 'other.key'),
        ),
        { code: 69, stderr: /the store key is being replaced/ },
        `${stage}: no other master key meanwhile`,
      )
    }
    const during = await sql("SELECT value, changed_epoch, mac FROM facts WHERE name = 'rekey'")
    const done = await place.run(...REKEY)
    t.match(done, { code: 0, stdout: DONE }, done.stderr)
    const { failures, count } = await stopAsking()
    t.same(failures, [], 'nothing was refused')
    t.ok(count > 50, `${String(count)} requests`)
    t.not(await masterKeyOf(), before)
    t.same(await sql("SELECT name FROM facts WHERE name = 'rekey'"), [])

    const store = await opened(t, place)
    await store.audit()
    t.equal((await openSigner(store)).publicKey, publicKey, 'receipts keep their signer')
    t.equal((await client.decrypt('key-0', sealed.body as never)).status, 200)
    const stale = await place.run(
      ...['store', 'rekey', '--yes', ...escrow, '--new-master-key', join(place.folder, 'new.key')],
    )
    t.match(stale, { code: 1, stderr: /the escrow contains an earlier key of this store/ })
    const backup = join(place.folder, 'switched.jsonl')
    t.match(await place.run('store', 'verify', backup), { code: 0 }, 'a backup from the middle')

    // An attacker who knows the old key must not be able to make the old record valid again.
    await sql('INSERT INTO facts (name, value, changed_epoch, mac) VALUES ($1, $2, $3, $4)', [
      ...['rekey', during[0]?.['value'], during[0]?.['changed_epoch'], during[0]?.['mac']],
    ])
    await t.rejects(
      toStoreOptions(await loadConfig(place.configFile, {})).then(openStore),
      { code: 'STORE_TAMPERED' },
      'the earlier record is not valid again',
    )
    await sql("DELETE FROM facts WHERE name = 'rekey'")
    await running.ended('SIGTERM')
    const again = await place.serve()
    t.match(again.running.stdout(), /"gate":"open"/)
  })
}

/** Runs a rekey in this process. Several rekeys can run concurrently. */
function startRekey(options: StoreOptions, deps: Partial<RekeyDeps>): Promise<number> {
  return rekeyStore(options, {
    clock: options.clock,
    waitForKey: () => Promise.resolve([]),
    waitForEpoch: () => Promise.resolve([]),
    isServed: () => Promise.resolve(false),
    ...deps,
  })
}

/** Crashes a rekey at the given stage. */
const crashAt = (at: RekeyStage): Partial<RekeyDeps> => ({
  onStage(stage) {
    if (stage === at) throw new Error(`crashed: ${at}`)
  },
})

for (const [name, open] of Object.entries(ENGINES)) {
  void t.test(`${name}: a rekey that another process continued is left alone`, async (t) => {
    const { place, sql } = await open(t)
    const options = await toStoreOptions(await loadConfig(place.configFile, {}))
    const phase = async () => {
      const [row] = await sql("SELECT value FROM facts WHERE name = 'rekey'")
      return row === undefined
        ? 'none'
        : (JSON.parse(String(row['value'])) as { phase: string }).phase
    }
    const opens = async () => {
      const store = await openStore(options)
      await store.audit()
      await store.close()
    }
    const lost = { code: 'STORE_BUSY', message: /another process continued this rekey/ }

    const slow = startRekey(options, {
      async waitForKey() {
        await t.rejects(startRekey(options, crashAt('switched')), /crashed/)
        return ['an instance']
      },
    })
    await t.rejects(slow, lost, 'a wait that ended too late takes back no switch')
    t.equal(await phase(), 'rewrapping', 'the old key is kept')
    await opens()

    const late = startRekey(options, {
      async waitForEpoch() {
        await startRekey(options, {})
        await t.rejects(startRekey(options, crashAt('announced')), /crashed/)
        return []
      },
    })
    await t.rejects(late, lost, 'nor does the end of one rekey delete the next')
    t.equal(await phase(), 'announced')
    await opens()

    const last = startRekey(options, {
      async waitForEpoch() {
        await startRekey(options, {})
        await t.rejects(startRekey(options, crashAt('switched')), /crashed/)
        return []
      },
    })
    await t.rejects(last, lost)
    t.equal(await phase(), 'rewrapping')
    await startRekey(options, {})
    t.equal(await phase(), 'none')
    await opens()
  })
}

void t.test('an instance that cannot load the key: nothing is changed', async (t) => {
  const place = await workspace(t)
  const file = (name: string) => join(place.folder, name)
  await place.serve()
  t.match(await place.run('store', 'rekey', '--yes', '--new-master-key', file('second.key')), {
    code: 0,
  })
  // The running server still uses the first master key.
  const text = await readFile(place.configFile, 'utf8')
  await writeFile(place.configFile, text.replace('master.key', 'second.key'))
  const config = await loadConfig(place.configFile, {})
  const { replaceStoreKey } = await import('../../src/killswitch/operator/rekey.ts')
  await t.rejects(replaceStoreKey(await toStoreOptions(config), { patienceMs: 2000 }), {
    code: 'STORE_BUSY',
    message: /nothing was changed: the new store key was not loaded by \S+ \(process \d+\)/,
  })
  const control = await openKillSwitch(config)
  const { instances } = await control.status(1)
  await control.close()
  t.match(instances, [{ state: 'open' }], 'it goes on')
})
