/**
 * Measures the cost of keys on a token: Latchkey with SoftHSM2, Latchkey with software keys, and a bare loop on the
 * same token, alternating in one run. Requires softhsm2.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Secret } from '../src/core/secret.ts'
import { readCredential, type Demo } from '../src/tools/demo/demo.ts'
import { createKmsSideClient } from '../src/kms/client/client.ts'
import { configFileOf, LABEL, MODULE, PIN, softhsm as onToken } from './cases/softhsm.ts'
import { decryptBody, encryptBody, signedRequest, type SignFor } from './requests.ts'
import { runLoad, runTokenLoop, startLatchkey } from './servers.ts'
import { prepareWorkplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '32' },
    // Cores for the servers. 0: the servers use one core and the client the other. 0,1: servers and client share both
    // cores.
    cores: { type: 'string', default: '0,1' },
  },
})
const REQUESTS = 512
const OPERATIONS = ['encrypt', 'decrypt'] as const

type Operation = (typeof OPERATIONS)[number]

interface Case {
  readonly name: string
  readonly operation: Operation
  readonly run: (seconds: number) => Promise<number>
}

async function toCases(demo: Demo, name: string, port: number): Promise<readonly Case[]> {
  const credential = await readCredential(demo)
  const signer: SignFor = { ...credential, keyId: demo.keyId }
  const client = createKmsSideClient({
    endpoint: `https://localhost:${String(port)}`,
    uriPath: demo.uriPath,
    accessKeyId: credential.accessKeyId,
    secretAccessKey: new Secret(credential.secretAccessKey),
    region: 'us-east-1',
    caFile: demo.caFile,
    timeoutMs: 30_000,
  })
  const sealed = (await client.encrypt(demo.keyId, { plaintext: Buffer.alloc(32, 1) })).body
  await client.close()
  const body: Readonly<Record<Operation, () => string>> = {
    encrypt: encryptBody,
    decrypt: () => decryptBody(sealed as Record<string, string>),
  }
  return OPERATIONS.map((operation) => ({
    name,
    operation,
    run: (seconds) =>
      runLoad({
        ...{ port, seconds, caFile: demo.caFile, connections: Number(values.connections) },
        // Sign again for each run, because signatures expire after five minutes.
        requests: Array.from({ length: REQUESTS }, () =>
          signedRequest(`/keys/${demo.keyId}/${operation}`, body[operation](), signer),
        ),
        sleeps: values.cores !== '0',
        core: values.cores === '0' ? '1' : values.cores,
      }),
  }))
}

async function main(folder: string): Promise<void> {
  const workplace = await prepareWorkplace(folder)
  await onToken.prepare?.(workplace)
  const { demo } = workplace
  const start = (file: string) => startLatchkey([file, `${file}.log`], values.cores)
  const servers = {
    softhsm: await start(configFileOf(workplace)),
    software: await start(demo.configFile),
  }
  const loops = OPERATIONS.map((operation) => ({
    name: 'loop',
    operation,
    run: (seconds: number) =>
      runTokenLoop(
        {
          ...{ module: MODULE, label: LABEL, pin: PIN, keyLabel: demo.keyId },
          ...{ seconds, operation },
        },
        '0',
      ),
  }))
  const cases: readonly Case[] = [
    ...(await toCases(demo, 'softhsm', servers.softhsm.port)),
    ...(await toCases(demo, 'software', servers.software.port)),
    ...loops,
  ]
  const rates = new Map<Case, number[]>(cases.map((one) => [one, []]))
  try {
    for (const one of cases) await one.run(1)
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const one of cases) rates.get(one)?.push(await one.run(Number(values.seconds)))
    }
  } finally {
    await Promise.all([servers.softhsm.stop(), servers.software.stop()])
  }
  for (const operation of OPERATIONS) print(operation, rates)
}

function print(operation: Operation, rates: ReadonlyMap<Case, readonly number[]>): void {
  const of = (name: string) =>
    [...rates].find(([one]) => one.name === name && one.operation === operation)?.[1] ?? []
  const [softhsm, software, loop] = [of('softhsm'), of('software'), of('loop')]
  // Compare round by round, so that a slowdown of the machine affects both figures.
  const ratio = (to: readonly number[]) =>
    median(softhsm.map((rate, i) => rate / (to[i] ?? NaN))).toFixed(3)
  const perSecond = (list: readonly number[]) => `${median(list).toFixed(0)}/s`
  process.stdout.write(
    `${operation}: softhsm ${perSecond(softhsm)}, software ${perSecond(software)}, loop ${perSecond(loop)};` +
      ` ratio to software ${ratio(software)}, to loop ${ratio(loop)}\n`,
  )
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2
}

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
try {
  await main(folder)
} finally {
  await rm(folder, { recursive: true })
}
