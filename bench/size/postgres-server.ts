/** Starts a private PostgreSQL server from Debian's packages, in a folder that is removed when the server stops. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { freePort } from '../free-port.ts'

export interface PostgresServer {
  readonly port: number
  /** Process id of the postmaster, whose children are the backends. */
  readonly pid: number
  query(sql: string, database?: string): Promise<readonly Record<string, unknown>[]>
  stop(): Promise<void>
}

export const POSTGRES_USER = 'latchkey'
const BINARIES = '/usr/lib/postgresql'
const START_MS = 30_000

/** @param settings lines for postgresql.conf */
export async function startPostgres(settings: readonly string[] = []): Promise<PostgresServer> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-bench-postgres-'))
  const isRoot = process.getuid?.() === 0
  if (isRoot) chownSync(folder, idOf('-u'), idOf('-g'))
  // PostgreSQL refuses to run as root, so its commands run as another user.
  const toCommand = (name: string, operands: readonly string[]) => {
    const command = [newestBinary(name), ...operands]
    if (!isRoot) return command
    return ['setpriv', '--reuid=postgres', '--regid=postgres', '--init-groups', ...command]
  }
  const data = join(folder, 'data')
  const [initdb = '', ...how] = toCommand('initdb', [
    ...['-D', data, '-U', POSTGRES_USER, '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8'],
  ])
  execFileSync(initdb, how, { cwd: folder, stdio: 'pipe' })
  const port = await freePort()
  const lines = [
    "listen_addresses = '127.0.0.1'",
    `port = ${String(port)}`,
    "unix_socket_directories = ''",
    ...settings,
  ]
  appendFileSync(join(data, 'postgresql.conf'), `${lines.join('\n')}\n`)
  const [postgres = '', ...operands] = toCommand('postgres', ['-D', data])
  const child = spawn(postgres, operands, { cwd: folder, stdio: 'ignore' })

  async function query(sql: string, database = 'postgres') {
    const client = new pg.Client({ host: '127.0.0.1', port, database, user: POSTGRES_USER })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return (await client.query<Record<string, unknown>>(sql)).rows
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  const until = performance.now() + START_MS
  for (;;) {
    try {
      await query('SELECT 1')
      break
    } catch (error) {
      if (performance.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  return {
    port,
    pid: child.pid ?? 0,
    query,
    async stop() {
      const ended = once(child, 'exit')
      // SIGINT requests a fast shutdown, which ends all sessions first.
      child.kill('SIGINT')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function newestBinary(name: string): string {
  const [newest = ''] = readdirSync(BINARIES).sort((a, b) => Number(b) - Number(a))
  return join(BINARIES, newest, 'bin', name)
}

function idOf(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres']).toString())
}
