/** Tests which sockets the lease guard closes, and which it leaves open. */
// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { GUARD_GRACE_MS, openLeaseGuard } from '../../src/killswitch/gate/guard/lease-guard.ts'
import { leaseEndMs } from '../../src/killswitch/operator/waiting-fleet.ts'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

const LEASE_MS = 60_000

function guardOf(t: Test, leaseMs = LEASE_MS) {
  const guard = openLeaseGuard(leaseMs)
  t.equal(guard.missing, undefined)
  t.teardown(guard.close)
  return guard
}

/** Arms the guard with an expired lease, and waits until it has fired. */
async function fire(guard: ReturnType<typeof openLeaseGuard>): Promise<void> {
  const { firings } = guard.stats()
  guard.arm(guard.mark() - LEASE_MS - GUARD_GRACE_MS - 1)
  await eventually(() => guard.stats().firings > firings)
}

async function serverOn(t: Test, host: string | { readonly path: string }) {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  server.listen(typeof host === 'string' ? { host, port: 0 } : host)
  await once(server, 'listening')
  const sockets: Socket[] = []
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null) throw new TypeError('it does not listen')
  return {
    port: typeof address === 'string' ? 0 : address.port,
    async open() {
      const socket =
        typeof address === 'string' ? connect(address) : connect(address.port, address.address)
      sockets.push(socket)
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      const echo = async () => {
        socket.write('x')
        await once(socket, 'data')
      }
      await echo()
      return { echo, isCut: () => socket.readableEnded || socket.destroyed }
    },
  }
}

for (const host of ['127.0.0.1', '::1', '::'])
  void t.test(`connections to its port are cut, and nothing else: ${host}`, async (t) => {
    const guard = guardOf(t)
    const served = await serverOn(t, host)
    const other = await serverOn(t, host)
    const local = await serverOn(t, { path: join(await temporaryFolder(t), 'socket') })
    const cut = [await served.open(), await served.open()]
    const kept = [await other.open(), await local.open()]
    await fire(guard)
    t.match(guard.stats(), { firings: 1, cut: 0 }, 'none before it knows its port')
    guard.protect(served.port)
    await fire(guard)
    t.match(guard.stats(), { isOn: true, firings: 2, cut: 2 })
    await eventually(() => cut.every(({ isCut }) => isCut()))
    for (const { echo } of kept) await echo()
    await (await served.open()).echo()
    t.pass('it takes new connections')
  })

void t.test('the outgoing end of a connection to a guarded port is left alone', async (t) => {
  const guard = guardOf(t)
  const served = await serverOn(t, '127.0.0.1')
  await served.open()
  guard.protect(served.port)
  await fire(guard)
  t.equal(guard.stats().cut, 1)
})

void t.test(
  'fires once the lease and grace period have ended, unless renewed or disarmed',
  async (t) => {
    const guard = guardOf(t, 100)
    const start = guard.mark()
    guard.arm(start)
    await eventually(() => guard.stats().firings === 1)
    t.ok(guard.mark() - start >= 100 + GUARD_GRACE_MS)
    guard.arm(guard.mark() + LEASE_MS)
    guard.disarm()
    guard.arm(guard.mark())
    guard.disarm()
    await new Promise((resolve) => setTimeout(resolve, 2 * (100 + GUARD_GRACE_MS)))
    t.equal(guard.stats().firings, 1)
    guard.close()
    guard.close()
    guard.disarm()
    t.equal(guard.stats().firings, 1, 'what it did is remembered')
  },
)

void t.test('several guards in one process are independent', async (t) => {
  const one = guardOf(t)
  const two = guardOf(t)
  const served = await serverOn(t, '127.0.0.1')
  const { echo } = await served.open()
  one.protect(served.port)
  await fire(two)
  t.match([one.stats().firings, two.stats().firings], [0, 1])
  await echo()
})

void t.test('it fires well before `kill` considers the lease ended', (t) => {
  for (const leaseMs of [1, 500, 2000, 3_600_000]) {
    t.ok(leaseMs + GUARD_GRACE_MS + 100 <= leaseEndMs(leaseMs), `${String(leaseMs)} ms`)
  }
  t.end()
})

void t.test('if no guard is available, it reports why and does nothing', (t) => {
  const module = new URL('../../src/killswitch/gate/guard/lease-guard.js', import.meta.url).href
  const script = `
    process.dlopen = () => { throw new Error('no such thing') }
    const { openLeaseGuard } = await import(${JSON.stringify(module)})
    const guard = openLeaseGuard(1)
    guard.protect(1); guard.arm(guard.mark()); guard.disarm(); guard.close()
    console.log(JSON.stringify([guard.missing, guard.stats()]))`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script])
  t.same(JSON.parse(stdout.toString()), ['no such thing', { isOn: false, firings: 0, cut: 0 }])
  t.end()
})
