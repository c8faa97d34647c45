/**
 * Measures answers of the admin listener of a large store, on SQLite and on PostgreSQL: milliseconds, bytes, and the
 * longest pause of the event loop that they cause.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadConfig } from '../src/config/load.ts'
import { freePort } from './free-port.ts'
import { median } from './results.ts'
import { type RunningProcess, startLatchkey } from './servers.ts'
import { type Extras, fillExtras } from './size/extras.ts'
import type { Size } from './size/fill.ts'
import { copyToPostgres, type Place, prepareSqlite } from './size/place.ts'
import { startPostgres } from './size/postgres-server.ts'

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '10000' },
    switches: { type: 'string', default: '10000' },
    stores: { type: 'string', default: '500' },
    policies: { type: 'string', default: '1000' },
    labels: { type: 'string', default: '0' },
    principals: { type: 'string', default: '1000' },
    callers: { type: 'string', default: '2' },
    engines: { type: 'string', default: 'sqlite,postgres' },
    rounds: { type: 'string', default: '5' },
    // Part of the paths to measure (default: all).
    only: { type: 'string', default: '' },
  },
})
const size: Size = {
  keys: Number(values.keys),
  credentials: 10,
  keyStores: Number(values.stores),
  switches: Number(values.switches),
}
const extras: Extras = {
  policies: Number(values.policies),
  labels: Number(values.labels),
  principals: Number(values.principals),
  callersPerKey: Number(values.callers),
}
const TOKEN = 'latchkey_token_of_the_benchmark'
const SETTLE_MS = 4000
const HOUR_MS = 3_600_000
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

interface Question {
  readonly path: string
  readonly body?: unknown
}

const QUESTIONS: readonly Question[] = [
  { path: '/status?events=100' },
  { path: '/switches?limit=1000' },
  { path: '/keys/demo' },
  { path: '/keys/demo?limit=1000' },
  { path: '/exposure' },
  { path: '/exposure?limit=1000' },
  { path: `/usage?since=${String(Date.now() - HOUR_MS)}` },
  { path: '/rehearsals', body: { scope: { kind: 'all' } } },
  { path: '/policies' },
  { path: '/policies/history' },
  { path: '/status?events=999999' },
]

interface Answer {
  readonly status: number
  readonly bytes: number
  readonly ms: number
}

function ask(port: number, { path, body }: Question): Promise<Answer> {
  const startedAt = performance.now()
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        ...{ host: '127.0.0.1', port, path: `/admin/v1${path}`, agent: false },
        method: body === undefined ? 'GET' : 'POST',
        headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      },
      (response) => {
        let bytes = 0
        response.on('data', (chunk: Buffer) => (bytes += chunk.length))
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, bytes, ms: performance.now() - startedAt })
        })
      },
    )
    request.on('error', reject)
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

async function measure(name: string, place: Place): Promise<void> {
  const port = await freePort()
  const sha256 = createHash('sha256').update(TOKEN).digest('hex')
  appendFileSync(
    place.configFile,
    `admin: { port: ${String(port)}, tokens: [{ name: bench, role: admin, sha256: ${sha256} }] }\n`,
  )
  const operands = [place.configFile, join(place.folder, `${name}.log`)]
  const server: RunningProcess = await startLatchkey(operands, '0,1')
  try {
    await server.takePause()
    await pause(SETTLE_MS)
    for (const question of QUESTIONS.filter(({ path }) => path.includes(values.only))) {
      const answers: Answer[] = []
      const pauses: number[] = []
      for (let i = 0; i < Number(values.rounds); i++) {
        await pause(300)
        await server.takePause()
        answers.push(await ask(port, question))
        pauses.push((await server.takePause()).cpuMs)
      }
      const [first] = answers
      process.stdout.write(
        `${name}\t${question.path}\tstatus ${String(first?.status)}\t${String(answers.at(-1)?.bytes)} bytes\t` +
          `${median(answers.map(({ ms }) => ms)).toFixed(0)} ms\tlongest pauses ${pauses.map((ms) => ms.toFixed(1)).join(' ')}\n`,
      )
    }
  } finally {
    await server.stop()
  }
}

const engines = values.engines.split(',')
const root = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
const postgres = engines.includes('postgres') ? await startPostgres() : undefined
try {
  const place = await prepareSqlite(root, size)
  const copy = postgres && (await copyToPostgres(place, postgres, 'answers'))
  for (const [name, one] of [
    ['sqlite', place],
    ['postgres', copy],
  ] as const) {
    if (one === undefined || !engines.includes(name)) continue
    await fillExtras(await loadConfig(one.configFile), size, extras)
    await measure(name, one)
  }
} finally {
  await postgres?.stop()
  await rm(root, { recursive: true })
}
