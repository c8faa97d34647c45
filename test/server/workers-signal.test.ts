/**
 * Tests SIGUSR2 for `latchkey serve` with workers: every worker refuses requests, even on open connections and after a
 * restart.
 */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import t from 'tap'
import { latchkeyHere } from '../support/cli.ts'
import { serveProgram, workersOf } from '../support/program.ts'
import { eventually, KEY_ID } from '../support/server.ts'
import { openSession, type Session } from '../support/session.ts'
import { encryptBody } from '../support/wire.ts'

t.setTimeout(120_000)

const WORKERS = 2

void t.test('one signal to the primary blocks all workers', async (t) => {
  const tokens = [{ name: 'nobody', role: 'viewer', sha256: '00'.repeat(32) }]
  const program = await serveProgram(t, { workers: WORKERS, admin: { port: 0, tokens } })
  const { server } = program
  await workersOf(program, WORKERS)
  const encrypt = async (session: Session) =>
    (await session.call(`/keys/${KEY_ID}/encrypt`, encryptBody())).status
  // Connections are assigned to workers in turn.
  const sessions: Session[] = []
  for (let i = 0; i < 2 * WORKERS; i++) sessions.push(await openSession(t, server))
  const askAll = () => Promise.all(sessions.map(encrypt))
  t.same(await askAll(), [200, 200, 200, 200])
  await eventually(() => program.linesOf('admin listener').length === 1)
  const port = String(program.linesOf('admin listener')[0]?.['port'])
  const ready = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).status
  t.equal(await ready(), 200)

  program.child.kill('SIGUSR2')
  const blocked = () => program.linesOf('blocked by a signal').map((line) => line['worker'])
  await eventually(() => blocked().length === WORKERS)
  t.same(blocked().sort(), [1, 2])
  t.same(await askAll(), [400, 400, 400, 400], 'on the connections that there are')
  t.equal(await encrypt(await openSession(t, server)), 400, 'and on a new one')
  await eventually(async () => (await ready()) === 503)
  const refused = () =>
    program
      .linesOf('request')
      .filter(({ reason }) => ['SIGNAL', 'SENTINEL'].includes(String(reason)))
  await eventually(() => refused().length === 5)
  t.same([...new Set(refused().map((line) => line['worker']))].sort(), [1, 2], 'by both')

  const { sentinelFile } = server.config.control
  await eventually(() => existsSync(sentinelFile))
  const status = async () => {
    const { stdout } = await latchkeyHere(['status', '--json', '--config', server.configFile])
    const { instances } = JSON.parse(stdout) as { instances: readonly { reason: string }[] }
    return instances.map(({ reason }) => reason)
  }
  await eventually(async () => (await status()).every((one) => /SIGNAL|SENTINEL/.test(one)))
  t.equal((await status()).length, WORKERS)
  await eventually(
    () => program.linesOf('the sentinel file blocks this instance').length === WORKERS,
  )
  await rm(sentinelFile)
  await eventually(async () => (await askAll()).every((one) => one === 200))
  await eventually(async () => (await ready()) === 200)
})
