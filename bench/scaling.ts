/**
 * Measures what a second core adds to one server, in two ways:
 *
 * - Both cores, with one client on each: two workers, compared with one process that shares one core with its client.
 *   Two independent processes, one per core, show what the machine itself can deliver.
 * - One worker at a time, on one core with its primary while the client uses the other core, compared with a single
 *   process on that core. The result is in responses per second of processor time of all processes. Two cores deliver
 *   twice that figure.
 */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { SERVING_FLAGS } from '../src/app/workers/worker-process.ts'
import { readCredential } from '../src/tools/demo/demo.ts'
import { freePort } from './free-port.ts'
import { encryptBody, signedRequest } from './requests.ts'
import { CLIENT_CORE, SERVER_CORE, readCpuMs, runLoad } from './servers.ts'
import { prepareWorkplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '16' },
  },
})
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url))
const BOTH = `${SERVER_CORE},${CLIENT_CORE}`
const REQUESTS = 512
/**
 * The lease is long, because writing to a shared machine's disk may take longer than two seconds, and this benchmark
 * measures only the rate.
 */
const LEASE = '20s'
const WARM_UPS = 3

interface Load {
  /** Core for the client. */
  readonly core: string
  /** Whether the client yields its core while it waits. */
  readonly sleeps: boolean
  /**
   * Uses only every `of`-th connection, starting at index `take`. Workers get connections in turn, so this selects a
   * worker.
   */
  readonly connection?: { readonly of: number; readonly take: number }
}

interface Server {
  readonly pid: number
  /** @returns responses per second */
  load(load: Load): Promise<number>
  stop(): Promise<void>
}

async function start(root: string, workers: number, cores: string): Promise<Server> {
  const { demo, caFile } = await prepareWorkplace(await mkdtemp(join(root, 'server-')))
  const port = await freePort()
  const file = demo.configFile
  const text = readFileSync(file, 'utf8').replace(/port: 0\b/, `port: ${String(port)}`)
  writeFileSync(file, `${text}workers: ${String(workers)}\ncontrol: { lease: ${LEASE} }\n`)
  const command = [process.execPath, ...SERVING_FLAGS, MAIN, 'serve', '--config', file]
  const child = spawn('taskset', ['-c', cores, ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      if (chunk.includes('"listening"')) resolve()
    })
  })
  const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
  return {
    pid: child.pid ?? 0,
    load: (load) =>
      runLoad({
        ...{ port, caFile, ...load, connections: Number(values.connections) },
        seconds: Number(values.seconds),
        requests: Array.from({ length: REQUESTS }, () =>
          signedRequest(`/keys/${demo.keyId}/encrypt`, encryptBody(), signer),
        ),
      }),
    async stop() {
      const ended = once(child, 'exit')
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** Returns the processor time of a process and its descendants. */
function treeCpuMs(pid: number): number {
  const children = readdirSync(`/proc/${String(pid)}/task`).flatMap((task) =>
    readFileSync(`/proc/${String(pid)}/task/${task}/children`, 'utf8')
      .split(' ')
      .filter(Boolean),
  )
  return children.reduce((sum, child) => sum + treeCpuMs(Number(child)), readCpuMs(pid))
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN
}

interface Case {
  readonly name: string
  readonly loads: (round: number) => readonly (readonly [Server, Load])[]
  /** Responses per second, and responses per second of processor time, by round. */
  readonly rates: number[]
  readonly perCpuSecond: number[]
}

async function measure(one: Case, round: number): Promise<void> {
  const loads = one.loads(round)
  const servers = new Set(loads.map(([server]) => server))
  const cpuMs = () => [...servers].reduce((sum, { pid }) => sum + treeCpuMs(pid), 0)
  const before = cpuMs()
  const rates = await Promise.all(loads.map(([server, load]) => server.load(load)))
  const rate = rates.reduce((sum, one) => sum + one, 0)
  one.rates.push(rate)
  one.perCpuSecond.push((rate * Number(values.seconds) * 1000) / (cpuMs() - before))
}

/** Alternates between the cases, and compares each of them with the first. */
async function compare(title: string, warmUps: number, cases: readonly Case[]): Promise<void> {
  for (let i = 0; i < warmUps; i++) {
    for (const one of cases) for (const [server, load] of one.loads(i)) await server.load(load)
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const one of cases) await measure(one, round)
  }
  process.stdout.write(`${title}\n`)
  const [first] = cases
  for (const { name, rates, perCpuSecond } of cases) {
    const to = (of: readonly number[], base: readonly number[] | undefined) =>
      median(of.map((one, i) => one / (base?.[i] ?? NaN))).toFixed(2)
    process.stdout.write(
      `  ${name.padEnd(16)}  ${median(rates).toFixed(0)}/s, ${to(rates, first?.rates)} times the first` +
        `  ${median(perCpuSecond).toFixed(0)} per CPU second, ${to(perCpuSecond, first?.perCpuSecond)}\n`,
    )
  }
}

const toCase = (name: string, loads: Case['loads']): Case => ({
  ...{ name, loads, rates: [], perCpuSecond: [] },
})

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
const servers: Server[] = []
const begin = async (workers: number, cores: string) => {
  const server = await start(folder, workers, cores)
  servers.push(server)
  return server
}
const end = async () => {
  for (const server of servers.splice(0)) await server.stop()
}
try {
  const here: Load = { core: SERVER_CORE, sleeps: true }
  const there: Load = { core: CLIENT_CORE, sleeps: true }
  const [one, other] = [await begin(1, SERVER_CORE), await begin(1, CLIENT_CORE)]
  const two = await begin(2, BOTH)
  await compare('both cores, clients on them as well:', WARM_UPS, [
    toCase('one process', () => [[one, here]]),
    toCase('two processes', () => [
      [one, here],
      [other, there],
    ]),
    toCase('two workers', () => [
      [two, here],
      [two, there],
    ]),
  ])
  await end()

  const away = (round: number): Load => ({
    ...{ core: CLIENT_CORE, sleeps: false },
    connection: { of: 2, take: round % 2 },
  })
  const [alone, workers] = [await begin(1, SERVER_CORE), await begin(2, SERVER_CORE)]
  await compare('one worker at a time on one core, the client on the other:', 2 * WARM_UPS, [
    toCase('one process', (round) => [[alone, away(round)]]),
    toCase('a worker', (round) => [[workers, away(round)]]),
  ])
} finally {
  await end()
  await rm(folder, { recursive: true })
}
