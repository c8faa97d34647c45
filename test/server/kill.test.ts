/** Tests the kill switch on a real server over TLS: what KMS receives, and when. */
// SPDX-License-Identifier: Apache-2.0
import { access, unlink, writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import type { Scope } from '../../src/core/scope.ts'
import { KILLED, KEY_ID, type TestServer, eventually, startTestServer } from '../support/server.ts'
import { encryptBody, requestMetadata } from '../support/wire.ts'

t.setTimeout(180_000)

const BY = { reason: 'a test', operator: 'tester', identity: 'os:tester' }
const LOOK = { requestMetadata: requestMetadata('DescribeKey') }
/** GetHealthStatus has no principal (XKS 1.0.3), but a request that sends one must not be refused. */
const HEALTH = {
  requestMetadata: {
    ...requestMetadata('KmsHealthCheck'),
    kmsViaService: 'ebs',
  },
}

async function serve(t: Test, config = {}) {
  const server = await startTestServer(t, {
    config: {
      keyStores: [
        { name: 'demo', prefix: '/demo' },
        { name: 'other', prefix: '/other' },
      ],
      control: KILLED,
      ...config,
    },
  })
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  return { server, control, ask: asker(server) }
}

/** Returns a function that calls each operation and returns the status and errorName on one line. */
function asker(server: TestServer) {
  const client = server.client()
  return async () => {
    const paths = [`/keys/${KEY_ID}/metadata`, `/keys/${KEY_ID}/encrypt`, '/health']
    const bodies = [LOOK, encryptBody(), HEALTH]
    const answers = await Promise.all(
      paths.map((path, i) => client.post(path, JSON.stringify(bodies[i]))),
    )
    return answers.map(({ status, body }) => {
      const { errorName, keyStatus } = body as { errorName?: string; keyStatus?: string }
      return `${String(status)} ${errorName ?? keyStatus ?? ''}`.trim()
    })
  }
}

const OPEN = ['200 ENABLED', '200', '200']
const BLOCKED = Array.from({ length: 3 }, () => '400 InvalidStateException')

void t.test(
  '[ERR-3] [HLT-3] after `revoked`, blocked requests are refused by name; restore lifts it',
  async (t) => {
    const { control, ask } = await serve(t)
    const cases: readonly (readonly [Scope, readonly string[]])[] = [
      [{ kind: 'all' }, BLOCKED],
      [{ kind: 'key-store', keyStore: 'demo' }, BLOCKED],
      [{ kind: 'key-store', keyStore: 'other' }, OPEN],
      [
        { kind: 'key', keyStore: 'demo', keyId: KEY_ID },
        ['200 DISABLED', '400 InvalidStateException', '200'],
      ],
      [
        { kind: 'match', criteria: { principal: 'arn:aws:iam::*:user/Alice' } },
        ['403 AccessDeniedException', '403 AccessDeniedException', '200'],
      ],
      [{ kind: 'match', criteria: { account: '111122223333' } }, OPEN],
      [
        { kind: 'match', keyStore: 'demo', criteria: { principal: '*' } },
        ['403 AccessDeniedException', '403 AccessDeniedException', '200'],
      ],
    ]
    for (const [scope, expected] of cases) {
      t.same(await ask(), OPEN)
      await control.wait(await control.kill({ scope, direction: 'both', ...BY }))
      t.same(await ask(), expected, JSON.stringify(scope))
      await control.restore({ target: { scope }, ...BY })
      await eventually(async () => (await ask()).every((one, i) => one === OPEN[i]))
    }
  },
)

void t.test('a killed key stays killed after everything restarts', async (t) => {
  const { server, control } = await serve(t)
  await control.kill({ scope: { kind: 'all' }, direction: 'both', ...BY })
  await server.stop()
  await server.start()
  t.same(await asker(server)(), BLOCKED)
})

void t.test('the sentinel file blocks and unblocks, and is respected at a start', async (t) => {
  const { server, ask } = await serve(t)
  const { sentinelFile } = server.config.control
  t.same(await ask(), OPEN)
  await writeFile(sentinelFile, '')
  await eventually(async () => (await ask()).every((one, i) => one === BLOCKED[i]))
  await server.stop()
  await server.start()
  const after = asker(server)
  t.same(await after(), BLOCKED)
  await unlink(sentinelFile)
  await eventually(async () => (await after()).every((one, i) => one === OPEN[i]))
})

void t.test(
  'block() refuses in the same tick, and the sentinel file preserves it over a restart',
  async (t) => {
    const { server, ask } = await serve(t)
    const blocking = server.running.block()
    t.equal(server.running.gateStats().reason, 'SIGNAL')
    t.same(await ask(), BLOCKED)
    await blocking
    await access(server.config.control.sentinelFile)
    await server.stop()
    await server.start()
    t.equal(server.running.gateStats().reason, 'SENTINEL')
    t.same(await asker(server)(), BLOCKED)
  },
)

void t.test("a dead man's switch closes by itself, and opens with the next renewal", async (t) => {
  const { control, ask } = await serve(t)
  await control.startDeadMan({ keyStore: 'demo', mayRestore: true, ttlMs: 700, ...BY })
  await eventually(async () => (await ask()).every((one, i) => one === BLOCKED[i]))
  await control.renewDeadMan({ keyStore: 'demo', mayRestore: true, ttlMs: 3_600_000, ...BY })
  await eventually(async () => (await ask()).every((one, i) => one === OPEN[i]))
  await control.closeDeadMan({ keyStore: 'demo', ...BY })
  await eventually(async () => (await ask()).every((one, i) => one === BLOCKED[i]))
  await control.endDeadMan({ keyStore: 'demo', mayRestore: true, ...BY })
  await eventually(async () => (await ask()).every((one, i) => one === OPEN[i]))
})

void t.test('a timed switch is lifted automatically', async (t) => {
  const { control, ask } = await serve(t)
  // The switch lasts longer than a kill takes, even on a busy machine.
  const until = Date.now() + 10_000
  await control.wait(
    await control.kill({ scope: { kind: 'all' }, direction: 'both', until, ...BY }),
  )
  t.same(await ask(), BLOCKED)
  await eventually(async () => (await ask()).every((one, i) => one === OPEN[i]))
  t.ok(Date.now() >= until, 'not earlier')
  t.match(await control.status(1), { switches: [], events: [{ kind: 'expired' }] })
})

void t.test('xksProxyFleetSize counts the instances that use the store', async (t) => {
  const { server } = await serve(t)
  const sizeNow = async () => {
    const { body } = await server.client().getHealthStatus()
    return (body as { xksProxyFleetSize: number }).xksProxyFleetSize
  }
  t.equal(await sizeNow(), 1)
  const { startServer } = await import('../../src/app/server.ts')
  const second = await startServer(server.config, { logFile: server.logFile })
  await eventually(async () => (await sizeNow()) === 2)
  await second.stop()
  await eventually(async () => (await sizeNow()) === 1)
})
