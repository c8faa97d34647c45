/**
 * Stops a process between the gate's last check and the write, and resumes it after `revoked`. The lease guard must
 * close the connections before the process writes. Without the guard, the response is sent.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import type { KillSwitch } from '../../src/killswitch/operator/service.ts'
import { StorageError } from '../../src/store/database.ts'
import { temporaryFolder } from '../support/cli.ts'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { type Program, isAlive, serveProgram, workersOf } from '../support/program.ts'
import { KEY_ID, type TestServer, eventually } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { encryptBody } from '../support/wire.ts'

t.setTimeout(200_000)

const BY = { reason: 'a test', operator: 'tester', identity: 'os:tester' } as const
const ALL = { scope: { kind: 'all' }, direction: 'both' } as const
const PATH = `/keys/${KEY_ID}/encrypt`
const CONFIG = { control: { lease: '1s' }, metrics: { host: '127.0.0.1', port: 0 } }
const FIRED = 'this process was suspended for longer than its lease; its connections were cut'
const LATE =
  'a response may have been sent after the lease expired: this process was suspended while sending it'
const PRELOAD = new URL('../support/stop-in-write.js', import.meta.url)

/**
 * Sends a request on one kept-alive connection. Resolves to the status, or undefined once the connection has closed.
 */
type Ask = () => Promise<number | undefined>

async function overHttp1(t: Test, server: TestServer): Promise<Ask> {
  const session = await openSession(t, server)
  return () =>
    session.call(PATH, encryptBody()).then(
      ({ status }) => status,
      () => undefined,
    )
}

async function overHttp2(t: Test, server: TestServer): Promise<Ask> {
  const session = await openHttp2(t, server)
  session.on('error', () => undefined)
  const closed = once(session, 'close').then(() => undefined)
  return () => {
    const answer = askHttp2(session, server, PATH, JSON.stringify(encryptBody()))
    return Promise.race([answer.catch(() => undefined), closed])
  }
}

async function untilStopped(pids: readonly number[]): Promise<number> {
  const isStopped = (pid: number) =>
    readFileSync(`/proc/${String(pid)}/stat`, 'latin1').includes(') T ')
  await eventually(() => pids.some(isStopped))
  return pids.find(isStopped) ?? 0
}

async function serveStopping(t: Test, workers: number, isGuarded: boolean) {
  const trigger = join(await temporaryFolder(t), 'stop')
  const preload = new URL(PRELOAD)
  preload.searchParams.set('once', trigger)
  if (!isGuarded) preload.searchParams.set('unguarded', '')
  const program = await serveProgram(t, { ...CONFIG, workers }, ['--import', preload.href])
  const pids = workers === 1 ? [program.child.pid ?? 0] : await workersOf(program, workers)
  t.teardown(() => {
    for (const pid of pids.filter(isAlive)) process.kill(pid, 'SIGKILL')
  })
  /** @returns the stopped process, and a promise for the response that it was about to write */
  const stopIn = async (ask: Ask) => {
    writeFileSync(trigger, '')
    const answer = ask()
    return { answer, stopped: await untilStopped(pids) }
  }
  return { program, stopIn }
}

/**
 * Stops the process and kills access. If the process was stopped while it held the store's lock, which blocks every
 * writer, resumes the process and retries.
 */
async function stopAndRevoke(
  control: KillSwitch,
  openAgain: () => Promise<Ask>,
  stopIn: Awaited<ReturnType<typeof serveStopping>>['stopIn'],
) {
  for (;;) {
    const ask = await openAgain()
    if ((await ask()) !== 200) continue
    const { answer, stopped } = await stopIn(ask)
    const kill = await control.kill({ ...ALL, ...BY }).catch((error: unknown) => {
      if (error instanceof StorageError && error.code === 'STORE_BUSY') return undefined
      throw error
    })
    if (kill !== undefined) return { answer, stopped, ...(await control.wait(kill)) }
    process.kill(stopped, 'SIGCONT')
    await answer
  }
}

const CASES = [
  { name: 'HTTP/1.1', open: overHttp1, workers: 1 },
  { name: 'HTTP/2', open: overHttp2, workers: 1 },
  { name: 'HTTP/1.1 to a worker', open: overHttp1, workers: 2 },
] as const

for (const { name, open, workers } of CASES)
  for (const isGuarded of workers === 1 ? [true, false] : [true]) {
    const what = isGuarded ? 'does not leave' : 'leaves, without the guard'
    void t.test(`a response about to be written, stopped until revoked, ${what}: ${name}`, (t) =>
      stopAndWake(t, open, workers, isGuarded),
    )
  }

async function stopAndWake(
  t: Test,
  open: typeof overHttp1,
  workers: number,
  isGuarded: boolean,
): Promise<void> {
  const { program, stopIn } = await serveStopping(t, workers, isGuarded)
  const { server } = program
  const guard = program.linesOf('listening')[0]?.['leaseGuard']
  t.equal(guard, isGuarded ? 'on' : 'left out by a test')
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  const { answer, stopped, instances } = await stopAndRevoke(control, () => open(t, server), stopIn)
  t.ok(instances.some(({ pid, how }) => pid === stopped && how === 'lease-ended'))
  process.kill(stopped, 'SIGCONT')
  t.equal(await answer, isGuarded ? undefined : 200)
  const [told, not] = isGuarded ? [FIRED, LATE] : [LATE, FIRED]
  await eventually(() => program.linesOf(told).length > 0)
  t.same(program.linesOf(not), [])
  if (isGuarded) t.ok(program.linesOf(FIRED).some(({ connections }) => Number(connections) >= 1))
  const metrics = await scrape(program)
  t.match(metrics, isGuarded ? /^latchkey_lease_guard 1$/m : /^latchkey_lease_guard 0$/m)
  t.match(
    metrics,
    isGuarded
      ? /^latchkey_lease_guard_fired_total [1-9]/m
      : /^latchkey_lease_guard_fired_total 0$/m,
  )

  // On a busy machine, the guard may fire again and close the connection, so retry until there is a response.
  const askAgain = async () => (await open(t, server).catch(() => undefined))?.()
  let again: number | undefined
  await eventually(async () => (again = await askAgain()) !== undefined)
  t.equal(again, 400, 'it lives, and refuses')
  await control.restore({ target: ALL, ...BY })
  await eventually(async () => (await askAgain()) === 200)
}

async function scrape(program: Program): Promise<string> {
  const { port } = program.linesOf('listening')[0]?.['metrics'] as { readonly port: number }
  return (await fetch(`http://127.0.0.1:${String(port)}/metrics`)).text()
}

void t.test('a lease that ends while the process is running closes no connection', async (t) => {
  const program = await serveProgram(t, CONFIG)
  const { path } = program.server.config.store as { readonly path: string }
  const lock = new Sqlite(path)
  t.teardown(() => lock.close())
  /** @returns false if the guard fired and the attempt must be retried */
  const endLease = async () => {
    const before = program.linesOf(FIRED).length
    const ask = await overHttp1(t, program.server)
    await eventually(async () => (await ask()) === 200)
    lock.exec('BEGIN EXCLUSIVE')
    let last: number | undefined = 200
    await eventually(async () => (last = await ask()) !== 200)
    await new Promise((resolve) => setTimeout(resolve, 500))
    const then = await ask()
    lock.exec('ROLLBACK')
    await eventually(() => isServedAgain(t, program))
    if (program.linesOf(FIRED).length > before) return false
    t.equal(last, 400)
    t.equal(then, 400, 'refusals go on, on the same connection')
    return true
  }
  // On a busy machine, the process may notice too late that its lease has expired, so retry.
  await eventually(endLease)
})

async function isServedAgain(t: Test, { server }: Program): Promise<boolean> {
  return (await (await overHttp1(t, server))()) === 200
}
