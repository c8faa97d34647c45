/**
 * Compares running XKS proxies, for example on the same HSM, alternating between them in one run. Measures the rate
 * over a few connections, the processor time of all their processes, and the latency at fixed rates.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { parseConsoleFile, readPrivateFile } from '../src/terminal/files.ts'
import type { PhaseResult } from './load-open.ts'
import { encryptBody, signedRequest, type SignFor } from './requests.ts'
import { readCpuMs, runLoad, runOpen } from './servers.ts'

const { values } = parseArgs({
  options: {
    // NAME=URL,CREDENTIAL_FILE,KEY_ID,CA_FILE,PID. The first proxy is the baseline for the others.
    proxy: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '16' },
    rates: { type: 'string', default: '500,1800' },
    // Core for the client, as passed to taskset; 0,1 shares both cores with the proxies.
    core: { type: 'string', default: '1' },
  },
})
const REQUESTS = 512
const CONNECTIONS_OF_OPEN_LOOP = 32

interface Proxy {
  readonly name: string
  readonly port: number
  readonly caFile: string
  readonly pid: number
  readonly signer: SignFor
  readonly rates: number[]
  readonly perCpuSecond: number[]
  /** Open-loop results by rate. */
  readonly open: Map<number, PhaseResult[]>
}

async function toProxy(text: string): Promise<Proxy> {
  const at = text.indexOf('=')
  const [url = '', file = '', keyId = '', caFile = '', pid = ''] = text.slice(at + 1).split(',')
  const { host, port, pathname } = new URL(url)
  const { accessKeyId, secretAccessKey } = parseConsoleFile(
    (await readPrivateFile(file)).toString('utf8'),
  )
  const signer = {
    ...{ accessKeyId, secretAccessKey: secretAccessKey.reveal(), keyId, host },
    uriPath: pathname.replace(/\/+$/, ''),
  }
  return {
    ...{ name: text.slice(0, at), port: Number(port), caFile, pid: Number(pid), signer },
    ...{ rates: [], perCpuSecond: [], open: new Map<number, PhaseResult[]>() },
  }
}

/** Returns the processor time of a process and its descendants in milliseconds. */
function cpuOf(pid: number): number {
  const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  const pids = children.split(' ').filter((one) => one !== '')
  return readCpuMs(pid) + pids.reduce((sum, one) => sum + cpuOf(Number(one)), 0)
}

/** Signs the requests again for each round, because signatures expire after five minutes. */
function sign({ signer }: Proxy): readonly string[] {
  const path = `/keys/${signer.keyId}/encrypt`
  return Array.from({ length: REQUESTS }, () => signedRequest(path, encryptBody(), signer))
}

async function measureRate(proxy: Proxy, seconds: number): Promise<void> {
  const before = cpuOf(proxy.pid)
  const rate = await runLoad({
    ...{ port: proxy.port, caFile: proxy.caFile, seconds, requests: sign(proxy) },
    ...{ connections: Number(values.connections), core: values.core, sleeps: values.core !== '1' },
  })
  proxy.rates.push(rate)
  proxy.perCpuSecond.push((rate * seconds * 1000) / (cpuOf(proxy.pid) - before))
}

async function measureLatency(proxy: Proxy, seconds: number): Promise<void> {
  const results = await runOpen(
    {
      ...{ port: proxy.port, caFile: proxy.caFile, requests: sign(proxy) },
      connections: CONNECTIONS_OF_OPEN_LOOP,
      sleeps: values.core !== '1',
      phases: values.rates.split(',').map((rate) => ({ rate: Number(rate), seconds })),
    },
    values.core,
  )
  for (const one of results) {
    proxy.open.set(one.rate, [...(proxy.open.get(one.rate) ?? []), one])
  }
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? NaN
}

function print(proxy: Proxy, first: Proxy): void {
  const ratio = (of: (one: Proxy) => readonly number[]) =>
    median(of(proxy).map((one, i) => one / (of(first)[i] ?? NaN))).toFixed(2)
  process.stdout.write(
    `${proxy.name}: ${median(proxy.rates).toFixed(0)}/s, ${median(proxy.perCpuSecond).toFixed(0)} for a second of` +
      ` processor time; to ${first.name} ${ratio(({ rates }) => rates)} and ${ratio(({ perCpuSecond }) => perCpuSecond)}\n`,
  )
  for (const [rate, results] of proxy.open) {
    const ms = (of: (one: PhaseResult) => number) => `${median(results.map(of)).toFixed(2)} ms`
    const served = results.reduce((sum, { inTime }) => sum + inTime, 0)
    const due = results.reduce((sum, one) => sum + one.due, 0)
    process.stdout.write(
      `  ${String(rate)}/s: p50 ${ms(({ ms: { p50 } }) => p50)}, p99 ${ms(({ ms: { p99 } }) => p99)},` +
        ` in time ${String(served)} of ${String(due)}\n`,
    )
  }
}

const proxies = await Promise.all(values.proxy.map(toProxy))
const [first] = proxies
if (first === undefined) throw new Error('name each proxy with --proxy')
const WARM_UP_SECONDS = 1
for (const proxy of proxies) {
  try {
    await measureRate(proxy, WARM_UP_SECONDS)
  } catch (error) {
    throw new Error(`${proxy.name} did not encrypt`, { cause: error })
  }
  proxy.rates.length = proxy.perCpuSecond.length = 0
}
for (let round = 0; round < Number(values.rounds); round++) {
  for (const proxy of proxies) await measureRate(proxy, Number(values.seconds))
  for (const proxy of proxies) await measureLatency(proxy, Number(values.seconds))
}
for (const proxy of proxies) print(proxy, first)
