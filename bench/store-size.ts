/**
 * Measures how a control store scales from 100 to 100,000 software keys, on SQLite and on a PostgreSQL server from
 * Debian's packages. Prints a table for each engine.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { openAdministration } from '../src/app/administration.ts'
import { openKillSwitch } from '../src/app/kill-switch.ts'
import { parseExternalKeyId } from '../src/core/ids.ts'
import type { OpenPlan, PhaseResult } from './load-open.ts'
import { median } from './results.ts'
import { CLIENT_CORE, type RunningProcess, startLatchkey, startPinned } from './servers.ts'
import { sizeOf } from './size/fill.ts'
import { copyToPostgres, type EngineName, type Place, prepareSqlite } from './size/place.ts'
import { type PostgresServer, startPostgres } from './size/postgres-server.ts'

const { values } = parseArgs({
  options: {
    keys: { type: 'string', default: '100,1000,10000,100000' },
    engines: { type: 'string', default: 'sqlite,postgres' },
    rate: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '20' },
    // Number of restarts for each of the two loads that are compared.
    rounds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '32' },
    // Cores for the server. The client uses the second one, and sleeps while it waits.
    cores: { type: 'string', default: '0,1' },
    // Seconds without requests, to measure the pauses that audits cause.
    idle: { type: 'string', default: '20' },
    // Keep the folders with the stores, and print their paths.
    keep: { type: 'boolean', default: false },
    // A folder with a store that `prepareSqlite` has filled for the one size in --keys. It is copied, and not changed.
    filled: { type: 'string' },
  },
})
const FEW_KEYS = 10
const MANY_KEYS = 10_000
const CHANGES = 5
/** Pause in milliseconds, longer than the interval at which a server reads changes. */
const PAUSE_MS = 400
/** Time allowed for the startup work to finish, in milliseconds. */
const SETTLE_MS = 5000
const PAGE = '1000'
const WIDTH = 14
const NAME_WIDTH = 24
const MAIN = fileURLToPath(new URL('../src/main.js', import.meta.url))
const run = promisify(execFile)

interface Start {
  readonly server: RunningProcess
  readonly seconds: number
}

async function start(place: Place): Promise<Start> {
  const startedAt = performance.now()
  const operands = [place.configFile, join(place.folder, 'server.log')]
  const server = await startLatchkey(operands, values.cores)
  return { server, seconds: (performance.now() - startedAt) / 1000 }
}

/** Restarts the server, and sends requests from the moment it is listening. */
async function loadAfterStart(place: Place, keys: number) {
  const requests = await place.sign(keys, Number(values.rate) * Number(values.seconds))
  const child = startPinned(CLIENT_CORE, 'load-open', [])
  const ready = once(child, 'message')
  const plan: OpenPlan = {
    ...{ port: 0, caFile: place.caFile, connections: Number(values.connections), requests },
    ...{ sleeps: true, waits: true },
    phases: [{ rate: Number(values.rate), seconds: Number(values.seconds) }],
  }
  child.send(plan)
  await ready
  const { server, seconds } = await start(place)
  try {
    await server.takePause()
    const answered = once(child, 'message')
    child.send(server.port)
    const [{ results, error }] = (await answered) as [
      { results?: readonly PhaseResult[]; error?: string },
    ]
    const [result] = results ?? []
    if (result === undefined) throw new Error(error ?? 'the client failed')
    const pause = await server.takePause()
    return { ...{ result, seconds, pause }, memoryMb: readMemoryMb(server.pid) }
  } finally {
    await server.stop()
  }
}

/** Returns the resident memory in megabytes; see proc(5). */
function readMemoryMb(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024
}

/** Milliseconds that each change took, excluding the command's startup. */
interface Changes {
  readonly creates: number[]
  /** Milliseconds until each kill printed `revoked`. */
  readonly kills: number[]
}

/** Creates keys and credentials and kills keys while the server is running. */
async function change(place: Place): Promise<Changes> {
  const [keyStore] = place.config.keyStores
  if (keyStore === undefined) throw new TypeError('the configuration has no key stores')
  const changes: Changes = { creates: [], kills: [] }
  const administration = await openAdministration(place.config)
  try {
    for (let i = 0; i < CHANGES; i++) {
      const keyId = parseExternalKeyId(`new-${String(i)}`)
      if (keyId === undefined) throw new TypeError('not a key id')
      const startedAt = performance.now()
      await administration
        .keys(keyStore.name)
        .createKey({ keyId, canEncrypt: true, canDecrypt: true })
      changes.creates.push(performance.now() - startedAt)
      await sleep(PAUSE_MS)
      await administration.credentials.create(keyStore.name)
      await sleep(PAUSE_MS)
    }
  } finally {
    await administration.close()
  }
  const killSwitch = await openKillSwitch(place.config)
  try {
    for (let i = 0; i < CHANGES; i++) {
      const scope = { kind: 'key', keyStore: keyStore.name, keyId: `new-${String(i)}` } as const
      const order = {
        scope,
        direction: 'both',
        reason: 'benchmark',
        operator: 'benchmark',
      } as const
      const startedAt = performance.now()
      await killSwitch.wait(await killSwitch.kill(order))
      changes.kills.push(performance.now() - startedAt)
      await sleep(PAUSE_MS)
    }
  } finally {
    await killSwitch.close()
  }
  return changes
}

/** Returns how many seconds a `latchkey` command takes, including Node.js startup. */
async function timeCommand(place: Place, operands: readonly string[]): Promise<number> {
  const startedAt = performance.now()
  const command = [MAIN, ...operands, '--config', place.configFile]
  await run(process.execPath, command, { maxBuffer: 2 ** 28 })
  return (performance.now() - startedAt) / 1000
}

type Figures = Readonly<Record<string, string>>

async function measure(place: Place, keys: number): Promise<Figures> {
  const many = Math.min(MANY_KEYS, keys / 2)
  const first = await loadAfterStart(place, many)
  const rounds: Readonly<Record<'few' | 'many', Awaited<ReturnType<typeof loadAfterStart>>[]>> = {
    ...{ few: [], many: [] },
  }
  for (let i = 0; i < Number(values.rounds); i++) {
    rounds.few.push(await loadAfterStart(place, FEW_KEYS))
    rounds.many.push(await loadAfterStart(place, many))
  }
  const all = [first, ...rounds.few, ...rounds.many]
  const p99 = (of: typeof all) => median(of.map(({ result }) => result.ms.p99))
  const p50 = (of: typeof all) => median(of.map(({ result }) => result.ms.p50))
  const refused = all.reduce((sum, { result }) => {
    const { due, statuses } = result
    return sum + due - (statuses['200'] ?? 0)
  }, 0)

  const { server } = await start(place)
  try {
    await sleep(SETTLE_MS)
    await server.takePause()
    await sleep(Number(values.idle) * 1000)
    const byAudits = await server.takePause()
    const { creates, kills } = await change(place)
    const byChanges = await server.takePause()
    const own = ['--key-store', place.keyStore]
    const create = await timeCommand(place, ['keys', 'create', 'one-more', ...own])
    const list = await timeCommand(place, ['keys', 'list', '--json', ...own])
    const page = await timeCommand(place, ['keys', 'list', '--json', '--limit', PAGE, ...own])
    return {
      keys: keys.toLocaleString('en'),
      'of them asked for': many.toLocaleString('en'),
      'start, s': median(all.map(({ seconds }) => seconds)).toFixed(1),
      'memory, MB': Math.max(...all.map(({ memoryMb }) => memoryMb)).toFixed(0),
      'create, ms': median(creates).toFixed(0),
      'kill to revoked, ms': median(kills).toFixed(0),
      'keys create, s': create.toFixed(2),
      'keys list, s': list.toFixed(2),
      'a page, s': page.toFixed(2),
      'pause by audits, ms': byAudits.cpuMs.toFixed(1),
      'by changes': byChanges.cpuMs.toFixed(1),
      'under load': median(all.map(({ pause }) => pause.cpuMs)).toFixed(1),
      'ten keys: p50, p99': `${p50(rounds.few).toFixed(1)}, ${p99(rounds.few).toFixed(1)}`,
      'many keys: p50, p99': `${p50(rounds.many).toFixed(1)}, ${p99(rounds.many).toFixed(1)}`,
      'ratio of the p99': (p99(rounds.many) / p99(rounds.few)).toFixed(2),
      'many, first use ever': `${first.result.ms.p50.toFixed(1)}, ${first.result.ms.p99.toFixed(1)}`,
      refused: String(refused),
    }
  } finally {
    await server.stop()
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Prints a table with one column per size. */
function print(engine: EngineName, columns: readonly Figures[]): void {
  const names = Object.keys(columns[0] ?? {})
  const lines = names.map((name) => {
    const cells = columns.map((figures) => (figures[name] ?? '').padStart(WIDTH))
    return `${name.padEnd(NAME_WIDTH)}${cells.join('')}`
  })
  process.stdout.write(`${[engine, ...lines].join('\n')}\n`)
}

const engines = values.engines.split(',')
const root = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
const tables: Readonly<Record<EngineName, Figures[]>> = { sqlite: [], postgres: [] }
let postgres: PostgresServer | undefined
try {
  if (engines.includes('postgres')) postgres = await startPostgres()
  for (const keys of values.keys.split(',').map(Number)) {
    const folder = join(root, String(keys))
    await mkdir(folder)
    const place = await prepareSqlite(folder, sizeOf(keys), values.filled)
    if (postgres !== undefined) {
      const copy = await copyToPostgres(place, postgres, `keys_${String(keys)}`)
      tables.postgres.push(await measure(copy, keys))
    }
    if (engines.includes('sqlite')) tables.sqlite.push(await measure(place, keys))
    process.stderr.write(`${keys.toLocaleString('en')} keys measured\n`)
  }
  for (const engine of ['sqlite', 'postgres'] as const) {
    if (engines.includes(engine)) print(engine, tables[engine])
  }
} finally {
  await postgres?.stop()
  if (values.keep) process.stdout.write(`${root}\n`)
  else await rm(root, { recursive: true })
}
