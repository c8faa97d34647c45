/**
 * Tests that the lease guard acts before a resumed process can write, however the process was stopped: by SIGSTOP, by
 * the cgroup v1 or v2 freezer, or by a debugger. Run as root on Linux with gdb installed:
 *
 *     node .test-build/test/by-hand/ways-to-stop.js
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../support/cli.ts'
import { eventually } from '../support/server.ts'

const GUARD = new URL('../../src/killswitch/gate/guard/lease-guard.js', import.meta.url).href
const LEASE_MS = 500
/** How long a process stays stopped, in milliseconds: longer than the lease plus its grace period. */
const STOPPED_MS = 1000
const FREEZERS = ['/sys/fs/cgroup/freezer', '/sys/fs/cgroup/unified', '/sys/fs/cgroup']

const run = promisify(execFile)
const pause = () => new Promise((resolve) => setTimeout(resolve, STOPPED_MS))

/**
 * Program that busy-waits until the file GO exists, with or without an armed guard, and then writes to its open
 * connection.
 */
const CHILD = `
import { existsSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import { openLeaseGuard } from ${JSON.stringify(GUARD)}
const [go, isArmed] = process.argv.slice(1)
const guard = openLeaseGuard(${String(LEASE_MS)})
const server = createServer((socket) => {
  if (isArmed === 'true') guard.arm(guard.mark())
  console.log('busy')
  while (!existsSync(go));
  let written
  try { written = writeSync(socket._handle.fd, 'late') } catch ({ code }) { written = code }
  console.log(JSON.stringify({ written, firings: guard.stats().firings }))
  process.exit()
})
server.listen(0, '127.0.0.1', () => {
  guard.protect(server.address().port)
  console.log('port ' + server.address().port)
})`

/** Stops a process, calls `meanwhile`, and resumes it. */
type Way = (pid: number, meanwhile: () => Promise<void>) => Promise<void>

async function bySignal(pid: number, meanwhile: () => Promise<void>): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  await meanwhile()
  process.kill(pid, 'SIGCONT')
}

function byFreezer(root: string): Way | undefined {
  const group = join(root, 'latchkey-test')
  const isFirst = existsSync(join(root, 'release_agent'))
  if (!isFirst && !existsSync(join(root, 'cgroup.controllers'))) return undefined
  const [file, frozen, thawed] = isFirst
    ? ['freezer.state', 'FROZEN', 'THAWED']
    : ['cgroup.freeze', '1', '0']
  return async (pid, meanwhile) => {
    mkdirSync(group, { recursive: true })
    writeFileSync(join(group, 'cgroup.procs'), String(pid))
    writeFileSync(join(group, file), frozen)
    await meanwhile()
    writeFileSync(join(group, file), thawed)
    await eventually(() => {
      try {
        rmdirSync(group)
        return true
      } catch {
        return false // the group still contains the process
      }
    })
  }
}

async function byDebugger(pid: number, meanwhile: () => Promise<void>): Promise<void> {
  const wait = `shell sleep ${String((2 * STOPPED_MS) / 1000)}`
  const gdb = run('gdb', ['-q', '-nx', '-batch', '-p', String(pid), '-ex', wait, '-ex', 'detach'])
  await meanwhile()
  await gdb
}

async function writeWhileStopped(t: Test, way: Way, isArmed: boolean) {
  const go = join(await temporaryFolder(t), 'go')
  const words = ['--input-type=module', '-e', CHILD, go, String(isArmed)]
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  const found = (form: RegExp) => form.exec(said)?.[1] ?? ''
  await eventually(() => found(/port (\d+)/) !== '')
  const socket = connect(Number(found(/port (\d+)/)), '127.0.0.1')
  let received = ''
  socket.setEncoding('utf8').on('data', (text: string) => (received += text))
  socket.on('error', () => undefined)
  await eventually(() => said.includes('busy'))
  await way(child.pid ?? 0, async () => {
    await pause()
    writeFileSync(go, '')
  })
  await eventually(() => socket.closed && found(/(\{.*\})/) !== '')
  return { ...(JSON.parse(found(/(\{.*\})/)) as object), received }
}

const WAYS: Readonly<Record<string, Way | undefined>> = {
  SIGSTOP: bySignal,
  ...Object.fromEntries(FREEZERS.map((root) => [root, byFreezer(root)])),
  gdb: byDebugger,
}

for (const [name, way] of Object.entries(WAYS)) {
  if (way === undefined) continue
  void t.test(`stopped by ${name}`, async (t) => {
    t.same(await writeWhileStopped(t, way, true), { written: 'EPIPE', firings: 1, received: '' })
    t.same(await writeWhileStopped(t, way, false), { written: 4, firings: 0, received: 'late' })
  })
}
