/**
 * Compares Latchkey configurations, alternating between them in one run. Over a few connections, measures responses per
 * second of the server's processor time; at a constant rate, measures the tail latency.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Demo, readCredential } from '../src/tools/demo/demo.ts'
import { type RunningProcess, runLoad, runOpen, SERVER_CORE, startLatchkey } from './servers.ts'
import { makeRequests, sealOne } from './signed-requests.ts'
import { prepareWorkplace } from './workplace.ts'

export interface ComparisonPlan {
  readonly folder: string
  /**
   * YAML that each configuration appends to the base file, by the configuration's name. The first configuration is the
   * baseline for the other configurations.
   */
  readonly configurations: Readonly<Record<string, string>>
  readonly rounds: number
  /** Duration of each measurement, in seconds. */
  readonly seconds: number
  readonly connections: number
  /** Request rate of the open loop, per second. */
  readonly rate: number
  /** Cores for the servers. If the client shares them, it sleeps while it waits (default: SERVER_CORE). */
  readonly cores?: string
  /** Operation that the open loop sends. The other measurement sends Encrypt. */
  readonly tailOf: 'encrypt' | 'decrypt'
}

const OPEN_CONNECTIONS = 32
const WARM_UP_SECONDS = 1

interface Contender {
  readonly name: string
  readonly server: RunningProcess
  /** Responses per second of the server's processor time, one figure per round. */
  readonly rates: number[]
  /** Percentiles of the open loop in milliseconds, one set per round. */
  readonly tails: { readonly p50: number; readonly p99: number }[]
}

export async function compareConfigurations(plan: ComparisonPlan): Promise<void> {
  const { demo } = await prepareWorkplace(plan.folder)
  const contenders: Contender[] = []
  try {
    for (const [name, yaml] of Object.entries(plan.configurations)) {
      const file = join(dirname(demo.configFile), `${name}.yaml`)
      await writeFile(file, `${await readFile(demo.configFile, 'utf8')}\n${yaml}\n`)
      const server = await startLatchkey([file, join(plan.folder, `${name}.log`)], plan.cores)
      contenders.push({ name, server, rates: [], tails: [] })
    }
    for (const one of contenders) await measureRate(demo, one, plan.connections, WARM_UP_SECONDS)
    for (const one of contenders) one.rates.length = 0
    for (let round = 0; round < plan.rounds; round++) {
      for (const one of contenders) await measureRate(demo, one, plan.connections, plan.seconds)
      for (const one of contenders) await measureTail(demo, one, plan)
    }
  } finally {
    await Promise.all(contenders.map(({ server }) => server.stop()))
  }
  for (const one of contenders) print(one, contenders[0] ?? one, plan)
}

async function measureRate(
  demo: Demo,
  { server, rates }: Contender,
  connections: number,
  seconds: number,
): Promise<void> {
  const requests = await sign(demo, server, 'encrypt')
  const before = server.cpuMs()
  const rate = await runLoad({
    ...{ port: server.port, seconds, caFile: demo.caFile, sleeps: true },
    ...{ requests, connections },
  })
  rates.push((rate * seconds * 1000) / (server.cpuMs() - before))
}

async function measureTail(
  demo: Demo,
  { server, tails }: Contender,
  { rate, seconds, tailOf, cores = SERVER_CORE }: ComparisonPlan,
): Promise<void> {
  const [result] = await runOpen({
    ...{ port: server.port, caFile: demo.caFile, requests: await sign(demo, server, tailOf) },
    ...{
      connections: OPEN_CONNECTIONS,
      phases: [{ rate, seconds }],
      sleeps: cores !== SERVER_CORE,
    },
  })
  if (result !== undefined) tails.push(result.ms)
}

async function sign(demo: Demo, { port }: RunningProcess, operation: 'encrypt' | 'decrypt') {
  const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
  const sealed =
    operation === 'decrypt'
      ? await sealOne({ host: 'localhost', port, caFile: demo.caFile }, signer)
      : {}
  return makeRequests(operation, signer, sealed)
}

function print({ name, rates, tails }: Contender, first: Contender, plan: ComparisonPlan): void {
  const ratio = percentile(
    rates.map((rate, i) => rate / (first.rates[i] ?? NaN)),
    0.5,
  )
  process.stdout.write(
    `${name.padEnd(10)} ${percentile(rates, 0.5).toFixed(0).padStart(6)} responses for a second of processor time;` +
      ` ratio to ${first.name} ${ratio.toFixed(3)}; ${plan.tailOf} at ${String(plan.rate)}/s:` +
      ` p50 ${spread(tails.map(({ p50 }) => p50))}, p99 ${spread(tails.map(({ p99 }) => p99))} ms\n`,
  )
}

/** Formats the median, the minimum and the maximum. */
function spread(numbers: readonly number[]): string {
  const [low, middle, high] = [0, 0.5, 1].map((share) => percentile(numbers, share).toFixed(1))
  return `${String(middle)} (${String(low)} to ${String(high)})`
}

export function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}
