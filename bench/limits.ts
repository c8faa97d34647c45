/**
 * What KMS would see at its quota, and beyond what the proxy can do: constant rates, open loop, with the
 * deadlines that are the default. Needs softhsm2. The client shares the cores with the proxy.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { configFileOf, softhsm } from './cases/softhsm.ts'
import { startLatchkey, type RunningProcess } from './servers.ts'
import { prepareWorkplace, type Workplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '1800' },
    seconds: { type: 'string', default: '60' },
    // Closed loop first, to learn what the software backend can do; then this many times that.
    overload: { type: 'string', default: '2' },
    only: { type: 'string', default: 'quota|overload' },
    // Instead of looking for it.
    highest: { type: 'string' },
    // As many as are under way at a time: KMS opens what it needs, and does not queue.
    connections: { type: 'string', default: '2000' },
    cores: { type: 'string', default: '0,1' },
    // A control group that the overloaded server joins: with less than a core it is slower than this client.
    cgroup: { type: 'string' },
  },
})
const DEADLINE = '200ms'
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url))
const run = promisify(execFile)

async function load(
  { demo }: Workplace,
  { port }: RunningProcess,
  flags: readonly string[],
): Promise<string> {
  const { stdout } = await run(process.execPath, [
    ...[MAIN, 'bench', '--endpoint', `https://localhost:${String(port)}${demo.uriPath}`],
    ...['--credential', demo.consoleFile, '--key-id', demo.keyId, '--ca', demo.caFile],
    ...flags,
  ]).catch((error: unknown) => {
    // Errors among the answers make it end with 1; the figures are there all the same.
    const { stdout = '' } = error as { stdout?: string }
    if (stdout === '') throw error
    return { stdout }
  })
  return stdout
}

const print = (title: string, found: string) => {
  process.stdout.write(`${title}\n${found}\n`)
}

async function quota(workplace: Workplace): Promise<void> {
  await softhsm.prepare?.(workplace)
  const log = join(workplace.folder, 'softhsm.log')
  const server = await startLatchkey([configFileOf(workplace), log], values.cores)
  try {
    await load(workplace, server, ['--rate', values.rate, '--duration', '3'])
    const flags = ['--rate', values.rate, '--duration', values.seconds]
    print('quota, SoftHSM2', await load(workplace, server, flags))
  } finally {
    await server.stop()
  }
}

async function findHighest(workplace: Workplace, server: RunningProcess): Promise<number> {
  const found = await load(workplace, server, ['--find', '--duration', '5'])
  print('the highest rate that it holds', found)
  return Number(/: (\d+)\/s \(limited/.exec(found)?.[1])
}

async function overload(workplace: Workplace): Promise<void> {
  const log = join(workplace.folder, 'software.log')
  const server = await startLatchkey([workplace.demo.configFile, log], '0')
  try {
    const { cgroup } = values
    if (cgroup !== undefined) writeFileSync(join(cgroup, 'cgroup.procs'), String(server.pid))
    const highest = Number(values.highest ?? (await findHighest(workplace, server)))
    const rate = Math.round(highest * Number(values.overload))
    const flags = ['--rate', String(rate), '--duration', '10', '--connections', values.connections]
    print(`${values.overload} times that`, await load(workplace, server, flags))
    const calm = ['--rate', String(Math.round(rate / 5)), '--duration', '3']
    print('and after it', await load(workplace, server, calm))
  } finally {
    await server.stop()
  }
}

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
try {
  const workplace = await prepareWorkplace(folder, DEADLINE)
  const only = new RegExp(values.only)
  if (only.test('quota')) await quota(workplace)
  if (only.test('overload')) await overload(workplace)
} finally {
  await rm(folder, { recursive: true })
}
