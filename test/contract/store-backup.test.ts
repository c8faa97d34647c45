/** Tests backups on both engines: written during concurrent changes, verified, recovered, and copied. */
// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { initializeStore, openAdministration } from '../../src/app/administration.ts'
import { pause } from '../../src/core/deadline.ts'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { loadConfig } from '../../src/config/load.ts'
import { loadBackup, recordBackup, writeBackup } from '../../src/store/backup.ts'
import { MIGRATIONS } from '../../src/store/migrations/migrations.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { openStore } from '../../src/store/store.ts'
import { findStoreWarnings } from '../../src/store/warnings.ts'
import { latchkeyHere, workspace } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { read } from '../support/repository.ts'
import { keyId } from '../support/server.ts'
import { keyStoreName, storeFolder } from '../support/store.ts'
import { createKeyAdministration } from '../../src/keys/software/administration.ts'

t.setTimeout(200_000)
const server = await startPostgres(t)
const DEMO = keyStoreName('demo')
const BY = { reason: 'r', operator: 'o', identity: 'os:o' } as const

/** Returns a configuration that uses this engine. All configurations in a folder share one master key. */
async function configure(engine: string, folder: string, name: string) {
  const { host, port, database, user } = await server.createDatabase()
  const store =
    engine === 'SQLite'
      ? { path: `${name}.db` }
      : { postgres: { host, port, database, user, tls: { mode: 'off' } } }
  const file = join(folder, `${name}.yaml`)
  const pem = { certificate: 'none', privateKey: 'none' }
  await writeFile(
    file,
    stringify({
      listener: { tls: pem },
      keyStores: [{ name: 'demo', prefix: '/demo' }],
      store: { ...store, masterKey: { file: 'master.key' } },
      control: { highWaterFile: `${name}.epoch`, sentinelFile: `${name}.block` },
    }),
  )
  return { file, load: () => loadConfig(file, {}) }
}

const run = async (file: string, ...words: readonly string[]) => {
  const ended = await latchkeyHere([...words, '--config', file, '--json'])
  return { ...ended, json: ended.code === 0 ? (JSON.parse(ended.stdout) as unknown) : undefined }
}

for (const engine of ['SQLite', 'PostgreSQL']) {
  void t.test(
    `${engine}: a backup made during changes is verified and recovered elsewhere`,
    async (t) => {
      const folder = t.testdir()
      const { file, load } = await configure(engine, folder, 'first')
      await initializeStore(await load())
      const administration = await openAdministration(await load())
      const keys = administration.keys(DEMO)
      await keys.createKey({ keyId: keyId('key'), canEncrypt: true, canDecrypt: true })
      const kept = await administration.credentials.create(DEMO)
      const backup = join(folder, 'backup.jsonl')
      t.match((await run(file, 'status')).json, {
        storeWarnings: [/^latchkey store backup has not made a backup/],
      })
      const stop = new AbortController()
      const changing = (async () => {
        while (!stop.signal.aborted) {
          await keys.rotateKey(keyId('key'))
          // SQLite's lock is unfair: without a pause, this writer would starve all other writers.
          await pause(20)
        }
      })()
      const made = await run(file, 'store', 'backup', backup)
      stop.abort()
      await changing
      t.equal(made.code, 0, made.stderr)
      t.match(made.json, { kind: 'backup', schema: MIGRATIONS.length, rows: { external_keys: 2 } })
      t.equal((await stat(backup)).mode & 0o777, 0o600)
      t.match((await run(file, 'status')).json, {
        lastBackup: { epoch: (made.json as { epoch: number }).epoch },
        storeWarnings: [/key versions? (is|are) newer than the last backup/],
      })
      t.match((await run(file, 'store', 'verify', backup)).json, { rows: { credentials: 1 } })
      t.match(await run(file, 'store', 'backup', backup), { code: 1 }, 'nothing is written over')

      // Recovery loses everything written after the backup, including this kill.
      const control = await openKillSwitch(await load())
      const killed = await control.kill({
        ...BY,
        scope: { kind: 'key-store', keyStore: 'demo' },
        direction: 'both',
      })
      await administration.credentials.revoke(kept.accessKeyId)
      await keys.setKeyStatus(keyId('key'), 'DISABLED')
      await keys.setKeyDates(keyId('key'), { deactivateAt: 1 })
      await control.close()
      await administration.close()

      const plan = await run(file, 'store', 'recover', backup, '--reason', 'r')
      t.equal(plan.code, 0, plan.stderr)
      t.match(plan.json, {
        done: false,
        losses: {
          kills: [killed.switch?.id],
          revocations: [kept.accessKeyId],
          disabledKeys: ['demo key'],
          changedDates: ['demo key'],
          retirements: [],
        },
      })
      const { losses } = plan.json as { losses: { events: readonly { kind: string }[] } }
      const lost = new Set(losses.events.map(({ kind }) => kind))
      for (const kind of ['kill', 'credential-revoked', 'key-disabled']) t.ok(lost.has(kind), kind)

      const other = engine === 'SQLite' ? { file, load } : await configure(engine, folder, 'second')
      const done = await run(other.file, 'store', 'recover', backup, '--reason', 'r', '--yes')
      t.equal(done.code, 0, done.stderr)
      const again = await openStore(await toStoreOptions(await other.load()))
      t.teardown(() => again.close())
      await again.audit()
      const { epoch } = await again.contents()
      t.match(done.json, { done: true, epoch })
      if (engine === 'SQLite') {
        t.ok(epoch > killed.epoch, 'above what this host has seen')
        t.equal(
          (await readdir(folder)).filter((name) => name.includes('.before-')).length > 0,
          true,
        )
      } else {
        const { epoch: saved } = made.json as { epoch: number }
        t.ok(epoch > saved + 1000, 'above what running servers may have seen without recording it')
      }
      const restored = await openAdministration(await other.load())
      t.teardown(() => restored.close())
      t.match(await restored.keys(DEMO).listKeys(), [{ keyId: 'key', status: 'ENABLED' }])
    },
  )
}

void t.test('an old backup is a warning, unless other tools make them', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const day = 86_400_000
  const warningsAt = (now: number, maxBackupAgeMs: number) =>
    findStoreWarnings(store, { processes: 1, now, maxBackupAgeMs })
  t.same(await warningsAt(0, day), [], 'a store without keys needs none')
  const path = `${folder.options.path}.jsonl`
  const { statement } = await writeBackup(store, path, { createdAt: 5 * day, release: '0' })
  await recordBackup(store, statement)
  t.same(await warningsAt(6 * day, day), [])
  t.match(await warningsAt(8 * day, day), [/made at 1970-01-06T00:00:00.000Z, 3 days ago/])
  t.same(await warningsAt(8 * day, 0), [])
})

void t.test('accepting an older copy sets an epoch above the one this host has seen', async (t) => {
  const folder = t.testdir()
  const { load } = await configure('SQLite', folder, 'seen')
  const config = await load()
  await initializeStore(config)
  const { highWaterFile } = config.control
  const { storeId } = JSON.parse(await readFile(highWaterFile, 'utf8')) as { storeId: string }
  await writeFile(highWaterFile, JSON.stringify({ storeId, epoch: 50, tag: 'later' }))
  const control = await openKillSwitch(config)
  t.teardown(() => control.close())
  t.ok((await control.acceptEpoch(BY)) > 50)
})

void t.test('a copy from SQLite to PostgreSQL and back is the same store', async (t) => {
  const folder = t.testdir()
  const one = await configure('SQLite', folder, 'one')
  const two = await configure('PostgreSQL', folder, 'two')
  const three = await configure('SQLite', folder, 'three')
  await initializeStore(await one.load())
  const control = await openKillSwitch(await one.load())
  await control.kill({ ...BY, scope: { kind: 'all' }, direction: 'both' })
  await control.close()
  for (const [from, to] of [
    [one, two],
    [two, three],
  ] as const) {
    const copied = await run(from.file, 'store', 'copy', '--to-config', to.file)
    t.equal(copied.code, 0, copied.stderr)
  }
  const [first, last] = await Promise.all(
    [one, three].map(async ({ load }) => {
      const killSwitch = await openKillSwitch(await load())
      const status = await killSwitch.status(10)
      await killSwitch.close()
      return status
    }),
  )
  t.same(last, first)
  t.match(
    await run(one.file, 'store', 'copy', '--to-config', two.file),
    { code: 1 },
    'not over a store',
  )
})

void t.test('a copy does not wait, and names running instances', async (t) => {
  const space = await workspace(t)
  const { running } = await space.serve()
  const target = join(space.folder, 'target.yaml')
  const text = await readFile(space.configFile, 'utf8')
  await writeFile(target, text.replace('latchkey.db', 'target.db'))
  const refused = await space.run('store', 'copy', '--to-config', target)
  t.match(refused, { code: 69, stderr: /1 instances are using the store/ })
  await running.ended('SIGTERM')
  t.match(await space.run('store', 'copy', '--to-config', target), { code: 0 })
})

void t.test('an incomplete file, or one from another store, is rejected as a backup', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const keys = createKeyAdministration(store, DEMO, folder.clock)
  await keys.createKey({ keyId: keyId('key'), canEncrypt: true, canDecrypt: true })
  const path = `${folder.options.path}.jsonl`
  await writeBackup(store, path, { createdAt: 1, release: '0' })
  const good = await readFile(path, 'utf8')
  const lines = good.trimEnd().split('\n')
  const CASES: Readonly<Record<string, string>> = {
    empty: '',
    'without its end': lines.slice(0, -1).join('\n'),
    'cut in a line': good.slice(0, good.length / 2),
    'a row more': [...lines.slice(0, 2), lines[1], ...lines.slice(2)].join('\n'),
    'a line less': [lines[0], ...lines.slice(2)].join('\n'),
    'another date': good.replace('"createdAt":1', '"createdAt":2'),
    'a key that is enabled': good.replace('ENABLED', 'DISABLED'),
    'a table that is not ours': good.replace('"table":"facts"', '"table":"sqlite_schema"'),
    'SQL in a name': good.replace('"columns":["name"', '"columns":["name) VALUES (1); --"'),
  }
  for (const [what, text] of Object.entries(CASES)) {
    await writeFile(path, text)
    const scratch = { ...folder.options, path: `${folder.options.path}-${what}` }
    await t.rejects(loadBackup(path, scratch), { name: 'StorageError' }, what)
    await t.rejects(stat(scratch.path), { code: 'ENOENT' }, 'and no store is left')
  }
  await writeFile(path, good)
  const key = `${path}.key`
  await createMasterKeyFile(key)
  const masterKey = { kind: 'file', path: key } as const
  const other = { ...folder.options, path: `${folder.options.path}-other`, masterKey }
  await t.rejects(loadBackup(path, other), { code: 'MASTER_KEY_WRONG' })
})

void t.test('following the recovery page results in a working server', async (t) => {
  const space = await workspace(t)
  const page = read('docs/store.md')
  const from = page.indexOf('## Backup\n')
  const section = page.slice(from, page.indexOf('## Copy a store'))
  const commands = [...section.matchAll(/^latchkey (.+)$/gm)].map(([, words = '']) =>
    [...words.replaceAll('/backup/', `${space.folder}/`).matchAll(/"([^"]*)"|(\S+)/g)].map(
      ([, quoted, plain]) => quoted ?? plain ?? '',
    ),
  )
  t.match(commands, [
    ['store', 'backup'],
    ['store', 'recover'],
    ['store', 'recover'],
  ])
  const first = await space.serve()
  const [backup = [], ...recovery] = commands
  t.match(await space.run(...backup), { code: 0, stdout: /^backed up and verified/ })
  t.match(await space.run('kill', '--all', '--reason', 'x'), { code: 0 })
  await first.running.ended('SIGTERM')
  const [look = [], apply = []] = recovery
  t.match(await space.run(...look), { code: 0, stdout: /^kills that would be lifted: \w+$/m })
  const applied = await space.run(...apply)
  t.match(applied, { code: 0, stdout: /^recovered; servers continue from epoch/m })
  const [, epoch] = /continue from epoch (\d+)/.exec(applied.stdout) ?? []
  t.ok(Number(epoch) > 1_000_000, 'above what only other hosts may have seen')
  const second = await space.serve()
  t.match(second.running.stdout(), /"listening".*"gate":"open"|"gate":"open".*"listening"/)
  t.match(await space.run('status'), {
    code: 0,
    stdout: /no switch is in force, 1 instance serving/,
  })
})
