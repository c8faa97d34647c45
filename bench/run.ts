/** Side by side: bare node:https and Latchkey, one core each in turn, medians of the rounds. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Secret } from '../src/base/secret.ts'
import { prepareDemo, readCredential, type Demo } from '../src/cli/demo.ts'
import { createKmsSideClient } from '../src/kms-side/client.ts'
import { decryptBody, encryptBody, healthBody, signedRequest, type SignFor } from './requests.ts'
import { runLoad, startServerProcess } from './servers.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '16' },
    json: { type: 'boolean', default: false },
  },
})
const REQUESTS = 512
/** Until everything is compiled. */
const WARM_UP_SECONDS = 4

interface Round {
  /** Answers per second. */
  readonly rate: number
  /** Answers per second of processor time of the server. */
  readonly perCpuSecond: number
}

type Rounds = ReadonlyMap<string, Round[]>

interface Case {
  readonly name: string
  readonly server: 'bare' | 'latchkey'
  readonly requests: () => readonly string[]
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
  try {
    const demo = await prepareDemo(folder, 0)
    print(await measure(demo, folder))
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function measure(demo: Demo, folder: string): Promise<Rounds> {
  const pki = (name: string) => join(folder, 'pki', name)
  const bare = await startServerProcess('bare-server', [pki('server.crt'), pki('server.key')])
  const latchkey = await startServerProcess('latchkey-server', [demo.configFile, demo.logFile])
  const servers = { bare, latchkey }
  const cases = await prepareCases(demo, latchkey.port)
  const rounds = new Map<string, Round[]>(cases.map(({ name }) => [name, []]))
  const run = async (one: Case, seconds: number): Promise<Round> => {
    const server = servers[one.server]
    const before = server.cpuMs()
    const rate = await runLoad({
      port: server.port,
      caFile: demo.caFile,
      connections: Number(values.connections),
      seconds,
      // Signed anew for each run: five minutes are soon over.
      requests: one.requests(),
    })
    return { rate, perCpuSecond: (rate * seconds * 1000) / (server.cpuMs() - before) }
  }
  try {
    for (const one of cases) await run(one, WARM_UP_SECONDS)
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const one of cases) rounds.get(one.name)?.push(await run(one, Number(values.seconds)))
    }
  } finally {
    await Promise.all([bare.stop(), latchkey.stop()])
  }
  return rounds
}

async function prepareCases(demo: Demo, port: number): Promise<readonly Case[]> {
  const credential = await readCredential(demo)
  const signer: SignFor = { ...credential, keyId: demo.keyId }
  const client = createKmsSideClient({
    endpoint: `https://localhost:${String(port)}`,
    uriPath: demo.uriPath,
    accessKeyId: credential.accessKeyId,
    secretAccessKey: new Secret(credential.secretAccessKey),
    region: 'us-east-1',
    caFile: demo.caFile,
  })
  const sealed = (await client.encrypt(demo.keyId, { plaintext: Buffer.alloc(32, 1) })).body
  await client.close()
  const many = (path: string, body: () => string) => () =>
    Array.from({ length: REQUESTS }, () => signedRequest(path, body(), signer))
  const encrypts = many(`/keys/${demo.keyId}/encrypt`, encryptBody)
  return [
    { name: 'bare', server: 'bare', requests: encrypts },
    { name: 'latchkey', server: 'latchkey', requests: encrypts },
    {
      name: 'latchkey-decrypt',
      server: 'latchkey',
      requests: many(`/keys/${demo.keyId}/decrypt`, () =>
        decryptBody(sealed as Record<string, string>),
      ),
    },
    { name: 'latchkey-health', server: 'latchkey', requests: many('/health', healthBody) },
  ]
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
}

/** Round by round, so that a machine that slows down slows both. */
function ratio(list: readonly number[], bare: readonly number[]): number {
  return Number(median(list.map((value, i) => value / (bare[i] ?? NaN))).toFixed(3))
}

function print(rounds: Rounds): void {
  const column = (name: string, field: keyof Round) =>
    (rounds.get(name) ?? []).map((round) => round[field])
  const rows = [...rounds.keys()].map((name) => {
    const [rates, perCpu] = [column(name, 'rate'), column(name, 'perCpuSecond')]
    return {
      name,
      perSecond: Math.round(median(rates)),
      ratioToBare: ratio(rates, column('bare', 'rate')),
      perCpuSecond: Math.round(median(perCpu)),
      cpuRatioToBare: ratio(perCpu, column('bare', 'perCpuSecond')),
      /** Below 1 the client, or another process on its core, was what held it up. */
      busy: Number(median(rates.map((rate, i) => rate / (perCpu[i] ?? NaN))).toFixed(2)),
      rounds: rates.map(Math.round),
    }
  })
  if (values.json) process.stdout.write(`${JSON.stringify(rows)}\n`)
  else for (const row of rows) process.stdout.write(`${toLine(row)}\n`)
}

function toLine(row: {
  readonly name: string
  readonly perSecond: number
  readonly ratioToBare: number
  readonly perCpuSecond: number
  readonly cpuRatioToBare: number
  readonly busy: number
  readonly rounds: readonly number[]
}): string {
  return [
    row.name.padEnd(18),
    `${String(row.perSecond).padStart(6)}/s, to bare ${row.ratioToBare.toFixed(3)}`,
    `${String(row.perCpuSecond).padStart(6)} per CPU second, to bare ${row.cpuRatioToBare.toFixed(3)}`,
    `busy ${row.busy.toFixed(2)}`,
    `rounds ${row.rounds.join(' ')}`,
  ].join('  ')
}

await main()
