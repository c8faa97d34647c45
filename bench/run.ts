/**
 * Compares servers side by side, over every kind of connection. The servers take turns on one core. Prints the medians
 * of the rounds.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readCredential } from '../src/tools/demo/demo.ts'
import { bare } from './cases/bare.ts'
import { latchkey } from './cases/latchkey.ts'
import { nginx } from './cases/nginx.ts'
import { createPeer } from './cases/peer.ts'
import type { BenchServer, Running } from './cases/server.ts'
import { softhsm } from './cases/softhsm.ts'
import { runClient } from './clients.ts'
import { nameOf, type Case } from './matrix.ts'
import type { SignFor } from './requests.ts'
import { renderRows, toRows, type Round } from './results.ts'
import { makeRequests, sealOne } from './signed-requests.ts'
import { prepareWorkplace, type Workplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    'warm-up': { type: 'string', default: '4' },
    connections: { type: 'string', default: '16' },
    only: { type: 'string', default: '' },
    list: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    peer: { type: 'string' },
    'peer-credential': { type: 'string', default: '' },
    'peer-key': { type: 'string', default: '' },
    'peer-ca': { type: 'string', default: '' },
  },
})

async function main(): Promise<void> {
  const servers = [bare, nginx, latchkey, softhsm, ...(await peers())]
  const only = new RegExp(values.only)
  const cases = servers.flatMap((server) => server.cases).filter((one) => only.test(nameOf(one)))
  if (values.list || cases.length === 0) {
    for (const one of cases) process.stdout.write(`${nameOf(one)}\n`)
    if (cases.length === 0) throw new Error('--only leaves nothing')
    return
  }
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
  try {
    const rounds = await measure(servers, cases, await prepareWorkplace(folder))
    const rows = toRows(cases, rounds)
    process.stdout.write(values.json ? `${JSON.stringify(rows)}\n` : `${renderRows(rows)}\n`)
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function peers(): Promise<readonly BenchServer[]> {
  if (values.peer === undefined) return []
  return [
    await createPeer({
      url: values.peer,
      credentialFile: values['peer-credential'],
      keyId: values['peer-key'],
      caFile: values['peer-ca'],
    }),
  ]
}

interface Ready {
  readonly one: Case
  readonly running: Running
  readonly signer: SignFor
  readonly sealed: Record<string, string>
  readonly caFile: string
}

async function measure(
  servers: readonly BenchServer[],
  cases: readonly Case[],
  workplace: Workplace,
): Promise<ReadonlyMap<string, readonly Round[]>> {
  const started = new Map<string, Promise<Running>>()
  try {
    const ready: Ready[] = []
    for (const server of servers) ready.push(...(await prepare(server, cases, workplace, started)))
    const rounds = new Map<string, Round[]>(cases.map((one) => [nameOf(one), []]))
    for (const one of ready) await runOnce(one, Number(values['warm-up']))
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const one of ready) {
        rounds.get(nameOf(one.one))?.push(await runOnce(one, Number(values.seconds)))
      }
      process.stderr.write(`round ${String(round + 1)} of ${values.rounds}\n`)
    }
    return rounds
  } finally {
    for (const running of await Promise.allSettled(started.values())) {
      if (running.status === 'fulfilled') await running.value.stop()
    }
  }
}

/** Starts the processes that the server's cases need: one per certificate and, where required, per HTTP version. */
async function prepare(
  server: BenchServer,
  cases: readonly Case[],
  workplace: Workplace,
  started: Map<string, Promise<Running>>,
): Promise<readonly Ready[]> {
  const own = server.cases.filter((one) => cases.includes(one))
  if (own.length === 0) return []
  await server.prepare?.(workplace)
  const signer = (await server.signer?.(workplace)) ?? (await demoSigner(workplace))
  const caFile = server.caFile ?? workplace.caFile
  const ready: Ready[] = []
  for (const one of own) {
    const key = [server.name, one.certificate, one.transport].join(' ')
    const starting = started.get(key) ?? server.start(workplace, one.certificate, one.transport)
    started.set(key, starting)
    const running = await starting
    const at = {
      host: running.host === '127.0.0.1' || running.host === undefined ? 'localhost' : running.host,
      port: running.port,
      caFile,
    }
    const sealed = one.operation === 'decrypt' ? await sealOne(at, signer) : {}
    ready.push({ one, running, signer, sealed, caFile })
  }
  return ready
}

async function demoSigner({ demo }: Workplace): Promise<SignFor> {
  return { ...(await readCredential(demo)), keyId: demo.keyId }
}

async function runOnce(
  { one, running, signer, sealed, caFile }: Ready,
  seconds: number,
): Promise<Round> {
  const requests = makeRequests(one.operation, signer, sealed)
  const before = running.cpuMs?.() ?? NaN
  const rate = await runClient({
    host: running.host ?? '127.0.0.1',
    port: running.port,
    caFile,
    connections: Number(values.connections),
    seconds,
    requests,
    transport: one.transport,
    connectionKind: one.connections,
  }).catch((cause: unknown) => {
    throw new Error(`${nameOf(one)}: ${cause instanceof Error ? cause.message : String(cause)}`)
  })
  const cpuMs = (running.cpuMs?.() ?? NaN) - before
  return { rate, perCpuSecond: (rate * seconds * 1000) / cpuMs }
}

await main()
