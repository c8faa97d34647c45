/**
 * Kills and restarts the servers together with PostgreSQL: a killed key must stay killed, and every other key must be
 * served.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { latchkeyHere, startLatchkey } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { KILLED, eventually, KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { call, encryptBody } from '../support/wire.ts'

t.setTimeout(120_000)

void t.test('kill -9 of everything, on PostgreSQL with workers', async (t) => {
  const postgres = await startPostgres(t)
  const { host, port, database, user } = postgres.target
  const server = await startTestServer(t, {
    stopped: true,
    config: {
      workers: 2,
      control: KILLED,
      store: {
        postgres: { host, port, database, user, tls: { mode: 'off' } },
        masterKey: { file: 'master.key' },
      },
    },
  })
  await server.createKey('other')
  const start = async () => {
    const running = startLatchkey(t, ['serve', '--config', server.configFile])
    const [line] = await running.shows(/^.*"listening".*$/m)
    const { port } = JSON.parse(line) as { port: number }
    const remote = Object.create(server, { port: { value: port } }) as TestServer
    const encrypt = async (keyId: string) =>
      (await call(remote, `/keys/${keyId}/encrypt`, encryptBody())).status
    return { running, encrypt }
  }
  const run = async (...words: readonly string[]) => {
    const { code, stderr } = await latchkeyHere([...words, '--config', server.configFile])
    t.equal(code, 0, stderr)
  }

  const before = await start()
  t.equal(await before.encrypt(KEY_ID), 200)
  await run('kill', '--key', KEY_ID, '--reason', 'r')
  t.equal(await before.encrypt(KEY_ID), 400)
  await Promise.all([before.running.ended('SIGKILL'), postgres.kill()])

  await postgres.start()
  const after = await start()
  t.equal(await after.encrypt(KEY_ID), 400, 'from the first request on')
  t.equal(await after.encrypt('other'), 200)
  await run('restore', '--key', KEY_ID, '--reason', 'r', '--yes')
  await eventually(async () => (await after.encrypt(KEY_ID)) === 200)
})
