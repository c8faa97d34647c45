/**
 * Measures software keys while another process empties the processor's caches, and under sustained load. Latchkey and
 * the bare server alternate, with and without that process on their core. Then each of them runs alone for several
 * minutes.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readCredential } from '../src/tools/demo/demo.ts'
import { encryptBody, signedRequest } from './requests.ts'
import { type RunningProcess, runLoad, startLatchkey, startServerProcess } from './servers.ts'
import { prepareWorkplace, type Workplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '4' },
    connections: { type: 'string', default: '16' },
    // Minutes of load on each server after the rounds; 0 skips this part.
    minutes: { type: 'string', default: '5' },
  },
})
const REQUESTS = 512
const SLICE_SECONDS = 10
const SECONDS_PER_MINUTE = 60

interface Server {
  readonly name: string
  readonly process: RunningProcess
  /** Responses per second of processor time, by round. */
  readonly alone: number[]
  readonly beside: number[]
}

/** Returns responses per second of the server's processor time. */
async function measure(
  { process: server }: Server,
  { demo, caFile }: Workplace,
  seconds: number,
): Promise<number> {
  const signer = { ...(await readCredential(demo)), keyId: demo.keyId }
  // Sign again for each run, because signatures expire after five minutes.
  const requests = Array.from({ length: REQUESTS }, () =>
    signedRequest(`/keys/${demo.keyId}/encrypt`, encryptBody(), signer),
  )
  const before = server.cpuMs()
  const rate = await runLoad({
    ...{ port: server.port, caFile, seconds, requests, sleeps: true },
    connections: Number(values.connections),
  })
  return (rate * seconds * 1000) / (server.cpuMs() - before)
}

async function withNeighbour(work: () => Promise<void>): Promise<void> {
  const neighbour = await startServerProcess('walk-memory', [])
  try {
    await work()
  } finally {
    await neighbour.stop()
  }
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN
}

async function measureRounds(servers: readonly Server[], workplace: Workplace): Promise<void> {
  const seconds = Number(values.seconds)
  for (const server of servers) await measure(server, workplace, seconds)
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const server of servers) server.alone.push(await measure(server, workplace, seconds))
    await withNeighbour(async () => {
      for (const server of servers) server.beside.push(await measure(server, workplace, seconds))
    })
  }
}

function printRounds(servers: readonly Server[]): void {
  const [first] = servers
  for (const [name, of] of [
    ['alone', ({ alone }: Server) => alone],
    ['beside the neighbour', ({ beside }: Server) => beside],
  ] as const) {
    for (const server of servers) {
      const base = first === undefined ? [] : of(first)
      const ratio = median(of(server).map((one, i) => one / (base[i] ?? NaN)))
      process.stdout.write(
        `${name}, ${server.name}: ${median(of(server)).toFixed(0)} responses for a second of processor time;` +
          ` ratio to ${first?.name ?? ''} ${ratio.toFixed(2)}\n`,
      )
    }
  }
}

/** Prints one figure per time slice, so that a slowdown is visible. */
async function measureLong(server: Server, workplace: Workplace): Promise<void> {
  const slices = Math.round((Number(values.minutes) * SECONDS_PER_MINUTE) / SLICE_SECONDS)
  const rates: number[] = []
  for (let slice = 0; slice < slices; slice++) {
    rates.push(await measure(server, workplace, SLICE_SECONDS))
  }
  if (rates.length === 0) return
  const third = Math.ceil(rates.length / 3)
  const change = median(rates.slice(-third)) / median(rates.slice(0, third))
  process.stdout.write(
    `${server.name}, ${values.minutes} minutes in slices of ${String(SLICE_SECONDS)} s:` +
      ` ${rates.map((rate) => rate.toFixed(0)).join(' ')}; last third to first third ${change.toFixed(2)}\n`,
  )
}

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
try {
  const workplace = await prepareWorkplace(folder)
  const { certificateFile, privateKeyFile } = workplace.certificate('rsa')
  const toServer = (name: string, process: RunningProcess) => ({
    ...{ name, process },
    ...{ alone: [], beside: [] },
  })
  const servers: readonly Server[] = [
    toServer('bare', await startServerProcess('bare-server', [certificateFile, privateKeyFile])),
    toServer(
      'latchkey',
      await startLatchkey([workplace.demo.configFile, join(folder, 'latchkey.log')]),
    ),
  ]
  try {
    await measureRounds(servers, workplace)
    if (Number(values.rounds) > 0) printRounds(servers)
    for (const server of servers) await measureLong(server, workplace)
  } finally {
    await Promise.all(servers.map(({ process }) => process.stop()))
  }
} finally {
  await rm(folder, { recursive: true })
}
