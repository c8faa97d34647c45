/**
 * Tests `latchkey kill` when the database has no free connection: the admin listener writes the switch over a
 * connection that it keeps open.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import t from 'tap'
import { pki, startWithAdmin, token } from '../support/admin.ts'
import { latchkey, temporaryFolder } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { KEY_ID } from '../support/server.ts'

t.setTimeout(200_000)
const CONNECTIONS = 12

void t.test('a kill falls back to the admin listener named in the environment', async (t) => {
  const { createDatabase, query } = await startPostgres(t)
  const { host, port, database } = await createDatabase()
  await query('CREATE ROLE serving LOGIN')
  await query(`ALTER DATABASE ${database} OWNER TO serving`)
  const postgres = { host, port, database, user: 'serving', tls: { mode: 'off' } }
  const server = await startWithAdmin(t, {
    store: { postgres, masterKey: { file: 'master.key' }, pollInterval: '50ms' },
  })
  const folder = await temporaryFolder(t)
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  await query(`ALTER ROLE serving CONNECTION LIMIT ${String(CONNECTIONS)}`)
  const others: pg.Client[] = []
  for (let isFull = false; !isFull;) {
    const other = new pg.Client({ host, port, database, user: 'serving' })
    other.on('error', () => undefined)
    isFull = await other.connect().then(
      () => false,
      () => true,
    )
    if (!isFull) others.push(other)
  }
  t.teardown(() => Promise.all(others.map((other) => other.end())))
  t.ok(others.length > 0)
  const address = `https://localhost:${String(server.running.admin?.port)}`
  const kill = (environment: Record<string, string>, ...words: readonly string[]) =>
    latchkey(t, ['kill', '--all', '--reason', 'test', '--config', server.configFile, ...words], {
      cwd: folder,
      environment: { HOME: folder, ...environment },
    })

  const alone = await kill({}, '--timeout', '6s')
  t.equal(alone.code, 69, alone.stderr)
  t.match(alone.stderr, /SQLSTATE 53300/)
  const named = { LATCHKEY_ADDR: address, LATCHKEY_CACERT: pki.caFile }
  const wrong = await kill({ ...named, LATCHKEY_TOKEN: 'none' }, '--timeout', '6s')
  t.equal(wrong.code, 69)
  t.match(wrong.stderr, /the admin listener .* cannot be reached; still trying the database/)
  t.equal(await encrypt(), 200, 'nothing was stopped so far')

  const state = join(folder, 'state')
  await mkdir(state)
  const mark = { storeId: 'another', epoch: 1, tag: 'a' }
  await writeFile(join(state, 'latchkey.epoch'), JSON.stringify(mark))
  const there = { ...named, LATCHKEY_TOKEN: token('operator'), STATE_DIRECTORY: state }
  const foreign = await kill(there, '--timeout', '6s')
  t.equal(foreign.code, 69)
  t.match(foreign.stderr, /the admin listener .* uses a different store; still trying the database/)
  t.equal(await encrypt(), 200, 'and nothing was stopped there')

  const done = await kill({ ...named, LATCHKEY_TOKEN: token('operator') })
  t.equal(done.code, 0, done.stderr)
  t.match(done.stderr, `no free connections (SQLSTATE 53300); using the admin listener ${address}`)
  t.match(done.stdout, /^revoked all/)
  t.equal(await encrypt(), 400)
})
