/** Tests several worker processes on one port, using the built program: load distribution, crashes, and the log. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { availableParallelism } from 'node:os'
import t, { type Test } from 'tap'
import { latchkey } from '../support/cli.ts'
import { serveProgram, untilGone, workersOf } from '../support/program.ts'
import { eventually, KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { call, encryptBody, requestMetadata } from '../support/wire.ts'

const ping = { ping: { host: '127.0.0.1', port: 0 } }
const encrypt = (server: TestServer) => call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())

function pingStatus(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    http
      .get({ port, host: '127.0.0.1', path: '/ping', agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      .on('error', () => {
        resolve(undefined)
      })
  })
}

void t.test('workers take connections in turn, and become ready together', async (t) => {
  const program = await serveProgram(t, { workers: 3, listener: ping })
  const [listening, ...others] = program.linesOf('listening')
  t.match(listening, { workers: 3, ping: { port: Number } }, 'said by the primary')
  t.same(others, [], 'once')
  t.equal(await pingStatus((listening?.['ping'] as AddressInfo).port), 200)
  for (let i = 0; i < 9; i++) t.equal((await encrypt(program.server)).status, 200)
  const byWorker = () =>
    [1, 2, 3].map(
      (worker) => program.linesOf('request').filter((line) => line['worker'] === worker).length,
    )
  await eventually(() => program.linesOf('request').length === 9)
  t.same(byWorker(), [3, 3, 3])
  t.match(await program.running.ended('SIGTERM'), { code: 0, stderr: '' })
})

void t.test('a killed worker is replaced while the others keep serving', async (t) => {
  const program = await serveProgram(t, { workers: 2 })
  const before = await workersOf(program, 2)
  // Open one connection per worker. Killing a worker closes only that worker's connection.
  const sessions = [await openSession(t, program.server), await openSession(t, program.server)]
  const health = { requestMetadata: requestMetadata('KmsHealthCheck') }
  for (const session of sessions) t.equal((await session.call('/health', health)).status, 200)
  const [victim = 0, survivor = 0] = before
  process.kill(victim, 'SIGKILL')
  await eventually(async () => {
    const calls = sessions.map((session) => session.call('/health', health))
    const outcomes = await Promise.allSettled(calls)
    const answered = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    t.ok(answered.length >= 1)
    t.ok(answered.every(({ value }) => value.status === 200))
    return program.linesOf('worker restarted').length === 1
  })
  t.match(program.linesOf('worker exited; restarting'), [
    { level: 50, signal: 'SIGKILL', pauseMs: 100 },
  ])
  const after = await workersOf(program, 2)
  t.ok(after.includes(survivor))
  t.notOk(after.includes(victim))
  for (let i = 0; i < 4; i++) t.equal((await encrypt(program.server)).status, 200)
  t.match(await program.running.ended('SIGTERM'), { code: 0, stderr: '' })
  await untilGone([...before, ...after])
})

void t.test('SIGTERM to one worker drains it, and another replaces it', async (t) => {
  const program = await serveProgram(t, { workers: 2 })
  const [first = 0] = await workersOf(program, 2)
  process.kill(first, 'SIGTERM')
  await eventually(() => program.linesOf('worker restarted').length === 1)
  t.match(program.linesOf('worker exited; restarting'), [{ code: 0 }])
  t.equal((await encrypt(program.server)).status, 200)
})

/** Runs a `latchkey serve` that fails at startup, and returns its output and exit code. */
function failedStart(t: Test, server: TestServer) {
  return latchkey(t, ['serve', '--config', server.configFile])
}

void t.test(
  'startup errors with workers have the same exit code and message as without',
  async (t) => {
    const occupied = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => occupied.once('listening', resolve))
    t.teardown(() => occupied.close())
    const { port } = occupied.address() as AddressInfo
    const faults: readonly { code: number; listener?: object; store?: object }[] = [
      { code: 69, listener: { port } },
      { code: 66, listener: { tls: { certificate: 'none.crt', privateKey: 'none.key' } } },
    ]
    for (const { code, listener } of faults) {
      const ends = []
      for (const workers of [1, 2]) {
        const config = { workers, listener: { ...listener } }
        const server = await startTestServer(t, { stopped: true, config })
        const { stderr, ...ended } = await failedStart(t, server)
        ends.push({ ...ended, stderr: stderr.replaceAll(server.folder, '') })
      }
      t.equal(ends[0]?.code, code)
      t.match(ends[0]?.stderr, /^latchkey: error: /)
      t.same(ends[1]?.code, ends[0]?.code)
      t.same(ends[1]?.stderr, ends[0]?.stderr)
    }
  },
)

void t.test(
  'log lines from several workers are not interleaved, however long they are',
  async (t) => {
    const program = await serveProgram(t, { workers: 2 })
    // In an earlier design, where each worker wrote to the pipe itself, about one line in a hundred was interleaved with
    // another.
    const arn = (name: string) => `arn:aws:iam::123456789012:${name}/${'x'.repeat(2000)}`
    const body = () =>
      encryptBody({
        requestMetadata: requestMetadata('Encrypt', {
          awsPrincipalArn: arn('role'),
          kmsKeyArn: arn('key'),
          kmsViaService: arn('service'),
          awsSourceVpc: arn('vpc'),
        }),
      })
    const PER_SESSION = 100
    const sessions = await Promise.all(
      Array.from({ length: 8 }, () => openSession(t, program.server)),
    )
    await Promise.all(
      sessions.map(async (session) => {
        for (let i = 0; i < PER_SESSION; i++) {
          const { status } = await session.call(`/keys/${KEY_ID}/encrypt`, body())
          if (status !== 200) throw new Error(`status ${String(status)}`)
        }
      }),
    )
    await program.running.ended('SIGTERM')
    const requests = program.linesOf('request')
    t.equal(requests.length, 8 * PER_SESSION, 'every line is JSON, and none is missing')
    t.ok(requests.every((line) => JSON.stringify(line).length > 8000))
    t.same(new Set(requests.map((line) => line['worker'])), new Set([1, 2]))
  },
)

void t.test('auto starts one worker per core', async (t) => {
  const program = await serveProgram(t, { workers: 'auto' })
  t.equal(program.linesOf('listening')[0]?.['workers'] ?? 1, availableParallelism())
})
