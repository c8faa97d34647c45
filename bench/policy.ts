/**
 * Measures the cost of policies. One run alternates between no policies, a hundred policies with cached decisions, and
 * a hundred policies that are evaluated for every request. The cost of a single decision is measured separately.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createEngine, decidePlainly } from '../src/policy/engine.ts'
import { compileDocuments } from '../src/policy/policy-set.ts'
import type { PolicyRequest } from '../src/policy/facts.ts'
import { compareConfigurations, percentile } from './configurations.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '9' },
    seconds: { type: 'string', default: '2' },
    connections: { type: 'string', default: '16' },
    policies: { type: 'string', default: '100' },
    decisions: { type: 'string', default: '20000' },
    // Request rate of the open loop, per second (default: KMS's default quota).
    rate: { type: 'string', default: '1800' },
  },
})
const PRINCIPAL = 'arn:aws:sts::123456789012:assumed-role/S3Access/session-0123456789'

/** One policy permits the benchmark's requests; all other policies are for other accounts, with typical conditions. */
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
  const configurations: Record<string, string> = { none: '' }
  for (const [name, text] of Object.entries(TEXTS)) {
    const policies = join(folder, `policies-${name}`)
    await mkdir(policies)
    await writeFile(join(policies, 'main.cedar'), text)
    configurations[name] = `policy:\n  folder: ${policies}`
  }
  await compareConfigurations({
    ...{ folder, configurations },
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    connections: Number(values.connections),
    rate: Number(values.rate),
    tailOf: 'encrypt',
  })
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
 * Measures microseconds of this thread's processor time per decision. The percentiles use wall-clock time, so that a
 * busy machine is noticed.
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

process.stdout.write(`${values.policies} policies\n`)
await measureDecisions()
const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
try {
  await measureServers(folder)
} finally {
  await rm(folder, { recursive: true })
}
