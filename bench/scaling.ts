/**
 * One process against two workers: answers for each second of processor time of all processes of the
 * server. All of them have one core and the client the other, since two workers on two cores would
 * leave none to it: what two cores answer is twice what one does, if a worker costs no more than a
 * process that is alone.
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
import { freePort } from './free-port.ts'
import { readCredential } from '../src/cli/demo.ts'
import { SERVING_FLAGS } from '../src/workers/node-flags.ts'
import { encryptBody, signedRequest } from './requests.ts'
import { readCpuMs, runLoad, SERVER_CORE } from './servers.ts'
import { prepareWorkplace } from './workplace.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '32' },
  },
})
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url))
const REQUESTS = 512
const WARM_UPS = 3

interface Server {
  readonly pid: number
  readonly port: number
  load(): Promise<number>
  stop(): Promise<void>
}

async function start(folder: string, workers: number): Promise<Server> {
  const { demo, caFile } = await prepareWorkplace(folder)
  const port = await freePort()
  const file = demo.configFile
  const text = readFileSync(file, 'utf8').replace(/port: 0\b/, `port: ${String(port)}`)
  writeFileSync(file, `${text}workers: ${String(workers)}\n`)
  const command = [process.execPath, ...SERVING_FLAGS, MAIN, 'serve', '--config', file]
  const child = spawn('taskset', ['-c', SERVER_CORE, ...command], {
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
    port,
    load: () =>
      runLoad({
        ...{ port, caFile, connections: Number(values.connections) },
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

/** Of a process and all that it started. */
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

const folder = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
const servers: Server[] = []
try {
  for (const workers of [1, 2])
    servers.push(await start(await mkdtemp(join(folder, 'server-')), workers))
  const rows = servers.map(() => ({ rates: [] as number[], perCpuSecond: [] as number[] }))
  // Workers see half of the requests each, and are warm after twice the time.
  for (let i = 0; i < WARM_UPS; i++) for (const server of servers) await server.load()
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [i, server] of servers.entries()) {
      const before = treeCpuMs(server.pid)
      const rate = await server.load()
      const cpuSeconds = (treeCpuMs(server.pid) - before) / 1000
      rows[i]?.rates.push(rate)
      rows[i]?.perCpuSecond.push((rate * Number(values.seconds)) / cpuSeconds)
    }
  }
  const [one, two] = rows
  for (const [i, { rates, perCpuSecond }] of rows.entries()) {
    process.stdout.write(
      `${i === 0 ? 'one process ' : 'two workers'}  ${median(rates).toFixed(0)}/s` +
        `  ${median(perCpuSecond).toFixed(0)} per CPU second\n`,
    )
  }
  const shares = (two?.perCpuSecond ?? []).map((two, i) => two / (one?.perCpuSecond[i] ?? NaN))
  process.stdout.write(
    `two workers on two cores: ${(2 * median(shares)).toFixed(2)} times one process on one\n`,
  )
} finally {
  for (const server of servers) await server.stop()
  await rm(folder, { recursive: true })
}
