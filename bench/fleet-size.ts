/**
 * Measures how much load many instances put on a PostgreSQL server from Debian's packages, and how long a kill waits
 * for the instances. Several processes run many real pollers each.
 */
// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { openKillSwitch } from '../src/app/kill-switch.ts'
import { median } from './results.ts'
import { readCpuMs } from './servers.ts'
import { sizeOf } from './size/fill.ts'
import type { InstancesPlan, InstancesReport } from './size/instances.ts'
import { copyToPostgres, type Place, prepareSqlite } from './size/place.ts'
import { type PostgresServer, startPostgres } from './size/postgres-server.ts'

const { values } = parseArgs({
  options: {
    instances: { type: 'string', default: '10,100,500' },
    processes: { type: 'string', default: '4' },
    keys: { type: 'string', default: '500' },
    // Pause in seconds between startup and the measurement.
    settle: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '15' },
    kills: { type: 'string', default: '5' },
  },
})
const CONNECTIONS_OF_AN_INSTANCE = 4
const SPARE_CONNECTIONS = 50
const PAUSE_MS = 1000
const OPEN_WITHIN_MS = 120_000
const SCRIPT = fileURLToPath(new URL('./size/instances.js', import.meta.url))
/**
 * Parent folder of the high-water files. It is in memory if possible, because one machine's disk is slower than the
 * disks of many hosts.
 */
const MARKS = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

async function startFleet(place: Place, instances: number, folder: string) {
  const processes = Math.min(Number(values.processes), instances)
  const children = Array.from({ length: processes }, () => fork(SCRIPT))
  await Promise.all(
    children.map(async (child, i) => {
      const own = Math.floor(instances / processes) + (i < instances % processes ? 1 : 0)
      const plan: InstancesPlan = { configFile: place.configFile, instances: own, folder }
      child.send(plan)
      const [message] = (await once(child, 'message')) as ['started' | { error: string }]
      if (message !== 'started') throw new Error(message.error)
    }),
  )
  return children
}

async function countOpen(children: readonly ChildProcess[]): Promise<InstancesReport> {
  const reports = await Promise.all(
    children.map(async (child) => {
      const answered = once(child, 'message')
      child.send('count')
      const [report] = (await answered) as [InstancesReport]
      return report
    }),
  )
  return {
    open: reports.reduce((sum, { open }) => sum + open, 0),
    reasons: [...new Set(reports.flatMap(({ reasons }) => reasons))],
  }
}

/** Returns the processor time of the server and its backends, including backends that have exited. */
function readServerCpuMs(pid: number): number {
  const own = readdirSync(`/proc/${String(pid)}/task`).flatMap((task) =>
    readFileSync(`/proc/${String(pid)}/task/${task}/children`, 'utf8')
      .split(' ')
      .filter(Boolean),
  )
  return own.reduce((sum, child) => {
    try {
      return sum + readCpuMs(Number(child))
    } catch {
      // The backend has already exited.
      return sum
    }
  }, readCpuMs(pid))
}

async function readCounters(server: PostgresServer, database: string) {
  const [row = {}] = await server.query(
    `SELECT xact_commit::float8 AS commits, tup_returned::float8 AS rows,
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS wal,
       (SELECT count(*)::float8 FROM pg_stat_activity WHERE datname = '${database}') AS connections
     FROM pg_stat_database WHERE datname = '${database}'`,
  )
  const number = (name: string) => Number(row[name])
  return {
    ...{ commits: number('commits'), rows: number('rows'), wal: number('wal') },
    ...{ connections: number('connections'), cpuMs: readServerCpuMs(server.pid) },
  }
}

/** Processor time in milliseconds: the server's, and that of all instances. */
interface ProcessorTime {
  readonly serverMs: number
  readonly instancesMs: number
}

interface Kill extends ProcessorTime {
  /** Time until `revoked` is printed, in milliseconds. */
  readonly ms: number
}

/** @param readCpu returns the processor time used so far, by everything except this process */
async function kill(place: Place, readCpu: () => ProcessorTime): Promise<readonly Kill[]> {
  const [keyStore] = place.config.keyStores
  const killSwitch = await openKillSwitch(place.config)
  const kills: Kill[] = []
  try {
    for (let i = 0; i < Number(values.kills); i++) {
      const keyId = `fleet-${String(performance.now())}`
      const scope = { kind: 'key', keyStore: keyStore?.name ?? '', keyId } as const
      const order = {
        scope,
        direction: 'both',
        reason: 'benchmark',
        operator: 'benchmark',
      } as const
      const before = readCpu()
      const startedAt = performance.now()
      let revokedAt = Infinity
      const { revocation } = await killSwitch.stop(order, {
        wait: true,
        onRevoked: () => {
          revokedAt = performance.now()
        },
      })
      const after = readCpu()
      kills.push({
        ms: revokedAt - startedAt,
        serverMs: after.serverMs - before.serverMs,
        instancesMs: after.instancesMs - before.instancesMs,
      })
      const outcomes = revocation?.instances ?? []
      const silent = outcomes.filter(({ how }) => how !== 'acknowledged').length
      if (silent > 0) process.stdout.write(`  ${String(silent)} have not acknowledged\n`)
      await sleep(PAUSE_MS)
    }
  } finally {
    await killSwitch.close()
  }
  return kills
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

async function measure(source: Place, server: PostgresServer, instances: number): Promise<void> {
  // In a fresh copy, these instances are the first to serve, so they need no high-water marks.
  const database = `fleet_${String(instances)}`
  const place = await copyToPostgres(source, server, database)
  const folder = await mkdtemp(join(MARKS, 'latchkey-bench-'))
  const atFirst = await readCounters(server, database)
  const startedAt = performance.now()
  const children = await startFleet(place, instances, folder)
  try {
    const until = startedAt + OPEN_WITHIN_MS
    while ((await countOpen(children)).open < instances && performance.now() < until)
      await sleep(PAUSE_MS / 4)
    const opened = (performance.now() - startedAt) / 1000
    const atOpen = await readCounters(server, database)
    const starting = (name: 'commits' | 'rows' | 'cpuMs') =>
      ((atOpen[name] - atFirst[name]) / instances).toFixed(0)
    // Wait until the startup work has finished.
    await sleep(Number(values.settle) * 1000)
    const before = await readCounters(server, database)
    await sleep(Number(values.seconds) * 1000)
    const after = await readCounters(server, database)
    const each = (name: 'commits' | 'rows' | 'wal' | 'cpuMs') =>
      (after[name] - before[name]) / Number(values.seconds)
    const readCpu = () => ({
      serverMs: readServerCpuMs(server.pid),
      instancesMs: children.reduce((sum, { pid = 0 }) => sum + readCpuMs(pid), 0),
    })
    const quiet = readCpu()
    await sleep(Number(values.seconds) * 1000)
    const quietEnd = readCpu()
    const kills = await kill(place, readCpu)
    const times = kills.map(({ ms }) => ms)
    /** Processor time of a kill for each instance, without what the fleet uses anyway. */
    const ofKill = (name: keyof ProcessorTime) => {
      const idle = (quietEnd[name] - quiet[name]) / (Number(values.seconds) * 1000)
      return (median(kills.map((one) => one[name] - idle * one.ms)) / instances).toFixed(2)
    }
    const { open, reasons } = await countOpen(children)
    process.stdout.write(
      [
        `${String(instances)} instances, ${String(open)} open${reasons.length === 0 ? '' : ` (${reasons.join(', ')})`}, all open after ${opened.toFixed(1)} s`,
        `  start, for each one    ${starting('cpuMs')} ms of the server, ${starting('commits')} transactions, ${starting('rows')} rows`,
        `  connections            ${after.connections.toFixed(0)}`,
        `  server, cores          ${(each('cpuMs') / 1000).toFixed(3)}`,
        `  transactions a second  ${each('commits').toFixed(0)}`,
        `  rows read a second     ${each('rows').toFixed(0)}`,
        `  WAL, MB a second       ${(each('wal') / 1e6).toFixed(2)}`,
        `  kill to revoked, ms    median ${median(times).toFixed(0)}, longest ${Math.max(...times).toFixed(0)}`,
        `  kill, for each one     ${ofKill('serverMs')} ms of the server, ${ofKill('instancesMs')} ms of the instance`,
        '',
      ].join('\n'),
    )
  } finally {
    // The instances need not deregister, because dropping the database also removes their registrations.
    const ended = children.map((child) => once(child, 'exit'))
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(ended)
    await rm(folder, { recursive: true })
  }
}

const root = await mkdtemp(join(tmpdir(), 'latchkey-bench-'))
const counts = values.instances.split(',').map(Number)
const connections = Math.max(...counts) * CONNECTIONS_OF_AN_INSTANCE + SPARE_CONNECTIONS
const server = await startPostgres([`max_connections = ${String(connections)}`])
try {
  const place = await prepareSqlite(root, sizeOf(Number(values.keys)))
  for (const instances of counts) await measure(place, server, instances)
} finally {
  await server.stop()
  await rm(root, { recursive: true })
}
