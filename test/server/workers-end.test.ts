/**
 * Tests how worker processes exit: all stop together on request, all exit if the primary dies, and none is left behind.
 */
// SPDX-License-Identifier: Apache-2.0
import { connect } from 'node:net'
import t from 'tap'
import { isAlive, serveProgram, untilGone, workersOf } from '../support/program.ts'
import { eventually, KEY_ID } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { call, encryptBody, openWire, requestMetadata, signedRequest } from '../support/wire.ts'

const PATIENCE_MS = 60_000

/**
 * Returns whether the port refuses connections. Uses only TCP, because a client that connects while the last worker is
 * exiting might wait forever for a TLS handshake.
 */
function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.once('error', () => {
      resolve(true)
    })
  })
}

for (const whom of ['the primary', 'all, as a terminal or systemd does it'] as const) {
  void t.test(`SIGTERM to ${whom}: in-flight requests complete in every worker`, async (t) => {
    const program = await serveProgram(t, {
      workers: 2,
      listener: { drain: { timeout: '30s' } },
    })
    const pids = await workersOf(program, 2)
    const begun = []
    for (let i = 0; i < 4; i++) {
      const wire = await openWire(program.server)
      const bytes = signedRequest(program.server, `/keys/${KEY_ID}/encrypt`, encryptBody())
      const health = { requestMetadata: requestMetadata('KmsHealthCheck') }
      wire.write(
        Buffer.concat([signedRequest(program.server, '/health', health), bytes.subarray(0, -10)]),
      )
      t.equal((await wire.answer())?.status, 200)
      begun.push({ wire, rest: bytes.subarray(-10) })
    }
    if (whom !== 'the primary') for (const pid of pids) process.kill(pid, 'SIGTERM')
    const ended = program.running.ended('SIGTERM')
    await eventually(() => isRefused(program.server.port))
    for (const { wire, rest } of begun) {
      wire.write(rest)
      const answer = await wire.answer(PATIENCE_MS)
      t.match(answer, { status: 200 })
      t.equal(answer?.headers.get('connection'), 'close')
    }
    t.match(await ended, { code: 0, stderr: '' })
    await untilGone(pids)
    const encrypts = program.linesOf('request').filter((line) => line['operation'] === 'Encrypt')
    t.same(
      encrypts.map((line) => line['status']),
      [200, 200, 200, 200],
      'the last lines of all are in the log',
    )
    t.same(new Set(encrypts.map((line) => line['worker'])), new Set([1, 2]))
  })
}

void t.test('kill -9 of the primary leaves nothing behind', async (t) => {
  const program = await serveProgram(t, { workers: 2 })
  const pids = await workersOf(program, 2)
  const session = await openSession(t, program.server)
  t.equal((await session.call('/health', { requestMetadata: requestMetadata('X') })).status, 200)
  t.ok(pids.every(isAlive))
  program.child.kill('SIGKILL')
  await untilGone(pids)
  await t.rejects(call(program.server, `/keys/${KEY_ID}/encrypt`, encryptBody()))
})

void t.test('a worker that does not stop is killed at the timeout', async (t) => {
  const program = await serveProgram(t, { workers: 2, listener: { drain: { timeout: '100ms' } } })
  const pids = await workersOf(program, 2)
  process.kill(pids[0] ?? 0, 'SIGSTOP')
  t.match(await program.running.ended('SIGTERM'), { code: 0 })
  await untilGone(pids)
})

void t.test('SIGHUP reloads certificates in all workers; SIGUSR2 kills none', async (t) => {
  const program = await serveProgram(t, { workers: 2 })
  const pids = await workersOf(program, 2)
  program.child.kill('SIGUSR2')
  program.child.kill('SIGHUP')
  await eventually(() => program.linesOf('certificate reloaded').length === 2)
  t.same(
    program
      .linesOf('certificate reloaded')
      .map((line) => line['worker'])
      .sort(),
    [1, 2],
  )
  t.same(await workersOf(program, 2), pids)
  t.match(await program.running.ended('SIGTERM'), { code: 0 })
})
