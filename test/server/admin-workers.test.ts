/** Tests that the admin listener of a server with workers knows what the audits of its workers have found. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import t, { type Test } from 'tap'
import { sha256, token } from '../support/admin.ts'
import { startPostgres } from '../support/postgres.ts'
import { serveProgram, workersOf } from '../support/program.ts'
import { eventually, KILLED, type TestServer } from '../support/server.ts'

t.setTimeout(240_000)

const postgres = await startPostgres(t)
const LIST = '/admin/v1/credentials'

type Json = Readonly<Record<string, unknown>>

function get(
  port: number,
  path: string,
): Promise<{ readonly status: number; readonly body: Json }> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token('admin')}` }
    http
      .get({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) as Json })
        })
      })
      .on('error', reject)
  })
}

/** @param write runs a statement outside of Latchkey */
async function check(
  t: Test,
  config: Json,
  write: (server: TestServer, sql: string) => Promise<void>,
): Promise<void> {
  const program = await serveProgram(t, {
    ...{ ...config, workers: 2, control: KILLED },
    admin: {
      port: 0,
      tokens: [{ name: 'admin', role: 'admin', sha256: sha256(token('admin')) }],
    },
  })
  const linesOf = (msg: string) => program.linesOf(msg).length
  await eventually(() => linesOf('admin listener') === 1)
  const port = Number(program.linesOf('admin listener')[0]?.['port'])
  t.equal((await get(port, LIST)).status, 200)
  // The list of credentials does not read this table, so only the audits of the workers can notice.
  await write(program.server, 'UPDATE key_versions SET created_at = created_at + 7')
  await eventually(async () => (await get(port, LIST)).status !== 200)
  for (const path of [LIST, '/admin/v1/keys/demo']) {
    const refused = await get(port, path)
    t.equal(refused.status, 503, path)
    t.match(refused.body['error'], { code: 'UNAVAILABLE', reason: 'STORE_TAMPERED' })
  }
  for (const pid of await workersOf(program, 2)) process.kill(pid, 'SIGKILL')
  await eventually(() => linesOf('worker exited; restarting') >= 2)
  t.equal((await get(port, LIST)).status, 503, 'what a worker has found outlives it')
  await eventually(() => linesOf('worker could not start') >= 2)
  t.equal((await get(port, LIST)).status, 503, 'a worker that could not start found nothing else')
  await write(program.server, 'UPDATE key_versions SET created_at = created_at - 7')
  await eventually(async () => (await get(port, LIST)).status === 200)
  t.equal((await get(port, '/admin/v1/keys/demo')).status, 200, 'the store was repaired')
}

void t.test('SQLite', (t) =>
  check(t, {}, ({ config }, sql) => {
    const database = new Sqlite(String(config.store.path), { timeout: 60_000 })
    database.exec(sql)
    database.close()
    return Promise.resolve()
  }),
)

void t.test('PostgreSQL', async (t) => {
  const { host, port, database, user } = await postgres.createDatabase()
  const target = { host, port, database, user }
  const store = { postgres: { ...target, tls: { mode: 'off' } }, masterKey: { file: 'master.key' } }
  await check(t, { store }, async (_, sql) => {
    const client = new pg.Client(target)
    await client.connect()
    await client.query(sql)
    await client.end()
  })
})
