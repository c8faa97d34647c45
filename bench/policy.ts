/**
 * Measures the cost of policies. One run alternates between no policies, a hundred policies whose
 * decisions are cached, and a hundred that are evaluated for each request. The cost of a single
 * decision is measured separately.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { createEngine, decidePlainly } from '../src/policy/engine.ts'
import { compileDocuments } from '../src/policy/policy-set.ts'
import type { PolicyRequest } from '../src/policy/facts.ts'
import { type Demo, readCredential } from '../src/tools/demo/demo.ts'
import { encryptBody, signedRequest } from './requests.ts'
import { type RunningProcess, runLoad, runOpen, startLatchkey } from './servers.ts'
import { prepareWorkplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '16' },
    policies: { type: 'string', default: '100' },
    decisions: { type: 'string', default: '20000' },
    // Requests per second of the open loop, KMS's default quota.
    rate: { type: 'string', default: '1800' },
  },
})
const REQUESTS = 512
const OPEN_CONNECTIONS = 32
const PRINCIPAL = 'arn:aws:sts::123456789012:assumed-role/S3Access/session-0123456789'

/** One permits the requests of the benchmark; all the others are for other accounts, with typical conditions. */
function policiesOf(count: number, extra: string): string {
  return Array.from({ length: count }, (_, i) => {
    const account = i === count - 1 ? '123456789012' : String(200_000_000_000 + i)
    return `permit (principal in XKS::Account::"${account}", action, resource)
      when {
        ["customer-direct", "customer-by-service", "key-administration"].contains(context.accessClass) &&
        (if context has viaService then ["s3", "ebs", "rds"].contains(context.viaService.name) else true) &&
        context has kmsKey && context.kmsKey.region == "us-east-1" ${extra}
      };`
  }).join('\n')
}

const COUNT = Number(values.policies)
const TEXTS = {
  kept: policiesOf(COUNT, ''),
  evaluated: policiesOf(COUNT, '&& context.plaintextBytes <= 4300'),
}

async function measureServers(folder: string): Promise<void> {
  const { demo } = await prepareWorkplace(folder)
  const servers = new Map<string, RunningProcess>()
  servers.set('none', await startLatchkey([demo.configFile, join(folder, 'none.log')]))
  for (const [name, text] of Object.entries(TEXTS)) {
    const policies = join(folder, name)
    await mkdir(policies)
    await writeFile(join(policies, 'main.cedar'), text)
    const file = join(dirname(demo.configFile), `${name}.yaml`)
    const config = await readFile(demo.configFile, 'utf8')
    await writeFile(file, `${config}\npolicy:\n  folder: ${policies}\n`)
    servers.set(name, await startLatchkey([file, join(folder, `${name}.log`)]))
  }
  /** Answers per second of the server's processor time, by configuration. */
  const rates = new Map([...servers.keys()].map((name) => [name, [] as number[]]))
  /** p99 of the open loop in milliseconds, by configuration. */
  const tails = new Map([...servers.keys()].map((name) => [name, [] as number[]]))
  try {
    for (const server of servers.values()) await run(demo, server, 1)
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [name, server] of servers)
        rates.get(name)?.push(await run(demo, server, Number(values.seconds)))
      for (const [name, server] of servers)
        tails.get(name)?.push(await measureTail(demo, server, Number(values.seconds)))
    }
  } finally {
    await Promise.all([...servers.values()].map((server) => server.stop()))
  }
  const none = rates.get('none') ?? []
  for (const [name, own] of rates) {
    const ratio = percentile(
      own.map((rate, i) => rate / (none[i] ?? NaN)),
      0.5,
    )
    process.stdout.write(
      `${name.padEnd(10)} ${percentile(own, 0.5).toFixed(0).padStart(6)} answers for a second of processor time; ratio to none ${ratio.toFixed(3)};` +
        ` p99 at ${values.rate}/s ${spread(tails.get(name) ?? [])} ms\n`,
    )
  }
}

async function run(demo: Demo, server: RunningProcess, seconds: number): Promise<number> {
  const requests = await sign(demo)
  const before = server.cpuMs()
  const rate = await runLoad({
    ...{ port: server.port, seconds, caFile: demo.caFile, sleeps: true, requests },
    connections: Number(values.connections),
  })
  return (rate * seconds * 1000) / (server.cpuMs() - before)
}

/** Returns the p99 at a constant rate, in milliseconds. */
async function measureTail(demo: Demo, server: RunningProcess, seconds: number): Promise<number> {
  const [result] = await runOpen({
    ...{ port: server.port, caFile: demo.caFile, requests: await sign(demo) },
    ...{ connections: OPEN_CONNECTIONS, phases: [{ rate: Number(values.rate), seconds }] },
  })
  return result?.ms.p99 ?? NaN
}

/** Signs requests for one run, because signatures expire after five minutes. */
async function sign(demo: Demo): Promise<readonly string[]> {
  const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
  return Array.from({ length: REQUESTS }, () =>
    signedRequest(`/keys/${demo.keyId}/encrypt`, encryptBody(), signer),
  )
}

const REQUEST: PolicyRequest = {
  ...{ keyStore: 'demo', keyId: 'key-1', operation: 'Encrypt', keyVersion: 1 },
  metadata: {
    awsPrincipalArn: PRINCIPAL,
    kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    kmsOperation: 'GenerateDataKey',
    kmsViaService: 's3',
  },
  credential: { id: 'AKIATEST', createdAt: 0 },
  ...{ now: 1_800_000_000_000, remoteAddress: '10.1.2.3', aadBytes: 96, plaintextBytes: 32 },
}

/**
 * Microseconds of this thread's processor time. The percentiles use wall-clock time, so that they reveal a busy
 * machine.
 */
async function measureDecisions(): Promise<void> {
  for (const [name, text] of Object.entries(TEXTS)) {
    const set = await compileDocuments(new Map([['main', text]]))
    const engine = createEngine(set)
    const count = Number(values.decisions)
    report(`${name}, by the engine`, count, () => engine.decide(REQUEST))
    if (name === 'kept')
      report('the same, plainly', Math.ceil(count / 100), () => decidePlainly(set, REQUEST))
    engine.close()
  }
}

function report(name: string, count: number, decide: () => unknown): void {
  for (let i = 0; i < Math.min(count, 2000); i++) decide()
  const times: number[] = []
  const cpuBefore = process.cpuUsage()
  for (let i = 0; i < count; i++) {
    const startedAt = process.hrtime.bigint()
    decide()
    times.push(Number(process.hrtime.bigint() - startedAt) / 1000)
  }
  const { user, system } = process.cpuUsage(cpuBefore)
  const of = (share: number) => percentile(times, share).toFixed(1)
  process.stdout.write(
    `${name.padEnd(24)} mean of processor time ${((user + system) / count).toFixed(1)} us; p50 ${of(0.5)}, p99 ${of(0.99)} us\n`,
  )
}

/** Returns the median, the minimum and the maximum. */
function spread(numbers: readonly number[]): string {
  const [low, middle, high] = [0, 0.5, 1].map((share) => percentile(numbers, share).toFixed(1))
  return `${String(middle)} (${String(low)} to ${String(high)})`
}

function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

process.stdout.write(`${values.policies} policies\n`)
await measureDecisions()
const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
try {
  await measureServers(folder)
} finally {
  await rm(folder, { recursive: true })
}
