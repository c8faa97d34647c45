/**
 * Follows the procedures in docs/store.md for PostgreSQL's own backups: pg_dump and pg_restore, point-in-time recovery
 * from a base backup and its WAL, and `store recover` into a new database.
 *
 *     npm run build:test && node .test-build/test/by-hand/postgres-recovery.js
 */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Workspace, workspace } from '../support/cli.ts'
import { asPostgres, binary, freePort, startPostgres } from '../support/postgres.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(600_000)

const WHY = ['--reason', 'restored', '--yes']

function runTool(cwd: string, name: string, words: readonly string[]): void {
  const [command, all] = asPostgres(binary(name), words)
  execFileSync(command, all, { cwd, stdio: 'pipe' })
}

/** Edits the configuration file, for example to use another server or database. */
async function pointTo(place: Workspace, change: (text: string) => string): Promise<void> {
  await writeFile(place.configFile, change(await readFile(place.configFile, 'utf8')))
}

/**
 * Checks that servers on this host, which has already seen a later epoch, refuse to serve from the restored copy until
 * an operator accepts it.
 */
async function checkRestored(t: Test, place: Workspace): Promise<void> {
  const status = await place.run('status')
  t.equal(status.code, 0, status.stderr)
  t.match(
    status.stderr,
    /warning: the store is at epoch \d+, but its history does not match the history/,
  )
  t.match(status.stdout, /no switch is in force/, 'the kill is lost')
  const before = await place.serve()
  t.match(before.running.stdout(), /EPOCH_WENT_BACK|does not continue the history/)
  await before.running.ended('SIGTERM')
  t.match(await place.run('control', 'accept-epoch', ...WHY), { code: 0 })
  const after = await place.serve()
  t.match(after.running.stdout(), /"gate":"open"/)
  await after.running.ended('SIGTERM')
}

void t.test('dump, recovery to a point in time, and store recover', async (t) => {
  const shared = join(t.testdir(), 'postgres')
  mkdirSync(shared)
  for (const folder of [t.testdirName, shared]) chmodSync(folder, 0o777)
  const archive = join(shared, 'wal')
  mkdirSync(archive)
  chmodSync(archive, 0o777)
  const server = await startPostgres(t, [
    'wal_level = replica',
    'archive_mode = on',
    `archive_command = 'cp %p ${archive}/%f'`,
  ])
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user, tls: { mode: 'off' } }
  const settings = {
    store: { postgres, masterKey: { file: 'master.key' }, pollInterval: '50ms' },
    control: { highWaterFile: 'latchkey.epoch', sentinelFile: 'latchkey.block' },
  }
  const place = await workspace(t, { settings })
  const login = ['-h', host, '-p', String(port), '-U', user]
  t.match(await place.run('keys', 'create', 'payroll', '-s', 'demo'), { code: 0 })
  const backup = join(place.folder, 'backup.jsonl')
  t.match(await place.run('store', 'backup', backup), { code: 0 })

  runTool(shared, 'pg_dump', [...login, '-Fc', '-f', join(shared, 'dump'), database])
  const base = join(shared, 'base')
  runTool(shared, 'pg_basebackup', [...login, '-D', base, '-c', 'fast'])
  const first = await place.serve()
  await first.running.ended('SIGTERM')
  const [row] = await server.query('SELECT clock_timestamp()::text AS now')
  const target = String(row?.['now'])
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.match(await place.run('kill', '--all', '--reason', 'lost', '--no-wait'), { code: 0 })
  const second = await place.serve()
  await second.running.ended('SIGTERM')
  await server.query('SELECT pg_switch_wal()')
  const mark = await readFile(join(place.folder, 'latchkey.epoch'), 'utf8')
  const text = await readFile(place.configFile, 'utf8')
  /** Resets the host's files to their state right after the kill. Call it before each recovery procedure. */
  const reset = async () => {
    await writeFile(join(place.folder, 'latchkey.epoch'), mark, { mode: 0o600 })
    await writeFile(place.configFile, text)
  }

  await t.test('pg_restore of a dump, under another collation', async (t) => {
    await reset()
    await server.query("CREATE DATABASE restored ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    runTool(shared, 'pg_restore', [...login, '--no-owner', '-d', 'restored', join(shared, 'dump')])
    await pointTo(place, (one) => one.replace(`database: ${database}`, 'database: restored'))
    await checkRestored(t, place)
    t.match(await place.run('keys', 'list', '-s', 'demo'), { stdout: /payroll/ })
  })

  await t.test('a base backup and its WAL, to a point in time', async (t) => {
    await reset()
    await eventually(async () => {
      const [found] = await server.query('SELECT last_archived_wal AS wal FROM pg_stat_archiver')
      return found?.['wal'] !== null
    })
    const own = await freePort()
    const lines = [
      `port = ${String(own)}`,
      'archive_mode = off',
      `restore_command = 'cp ${archive}/%f %p'`,
      `recovery_target_time = '${target}'`,
      "recovery_target_action = 'promote'",
    ]
    appendFileSync(join(base, 'postgresql.conf'), `${lines.join('\n')}\n`)
    writeFileSync(join(base, 'recovery.signal'), '')
    const [command, words] = asPostgres(binary('postgres'), ['-D', base])
    const recovered = spawn(command, words, { stdio: 'ignore' })
    t.teardown(async () => {
      const ended = new Promise((resolve) => recovered.once('close', resolve))
      recovered.kill('SIGINT')
      await ended
    })
    await pointTo(place, (one) => one.replace(`port: ${String(port)}`, `port: ${String(own)}`))
    await eventually(async () => (await place.run('status')).code === 0)
    await checkRestored(t, place)
    t.match(await place.run('keys', 'list', '-s', 'demo'), { stdout: /payroll/ })
  })

  await t.test('store recover into a new database', async (t) => {
    await reset()
    await server.query("CREATE DATABASE fresh ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    await pointTo(place, (one) => one.replace(`database: ${database}`, 'database: fresh'))
    const recovered = await place.run('store', 'recover', backup, ...WHY)
    t.match(recovered, { code: 0, stdout: /^recovered; servers continue from epoch/m })
    const { running } = await place.serve()
    t.match(running.stdout(), /"gate":"open"/)
    await running.ended('SIGTERM')
  })
})
