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

interface Case {
  readonly name: string
  readonly server: 'bare' | 'latchkey'
  readonly requests: () => readonly string[]
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
  try {
    const demo = await prepareDemo(folder, 0)
    const rates = await measure(demo, folder)
    print(rates)
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function measure(demo: Demo, folder: string): Promise<Map<string, number[]>> {
  const pki = (name: string) => join(folder, 'pki', name)
  const bare = await startServerProcess('bare-server', [pki('server.crt'), pki('server.key')])
  const latchkey = await startServerProcess('latchkey-server', [demo.configFile, demo.logFile])
  const ports = { bare: bare.port, latchkey: latchkey.port }
  const cases = await prepareCases(demo, latchkey.port)
  const rates = new Map<string, number[]>(cases.map(({ name }) => [name, []]))
  const run = async (one: Case, seconds: number) =>
    runLoad({
      port: ports[one.server],
      caFile: demo.caFile,
      connections: Number(values.connections),
      seconds,
      // Signed anew for each run: five minutes are soon over.
      requests: one.requests(),
    })
  try {
    for (const one of cases) await run(one, 1)
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const one of cases) rates.get(one.name)?.push(await run(one, Number(values.seconds)))
    }
  } finally {
    await Promise.all([bare.stop(), latchkey.stop()])
  }
  return rates
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

function print(rates: ReadonlyMap<string, readonly number[]>): void {
  const bare = rates.get('bare') ?? []
  const rows = [...rates].map(([name, list]) => ({
    name,
    perSecond: Math.round(median(list)),
    // Round by round, so that a machine that slows down slows both.
    ratioToBare: Number(median(list.map((rate, i) => rate / (bare[i] ?? NaN))).toFixed(3)),
    rounds: list.map(Math.round),
  }))
  if (values.json) process.stdout.write(`${JSON.stringify(rows)}\n`)
  else {
    for (const row of rows) {
      process.stdout.write(
        `${row.name.padEnd(18)} ${String(row.perSecond).padStart(7)}/s  ratio to bare ${row.ratioToBare.toFixed(3)}  rounds ${row.rounds.join(' ')}\n`,
      )
    }
  }
}

await main()
