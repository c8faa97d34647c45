/** A PostgreSQL server of one's own, in a folder of its own, on a free port; gone when the test ends. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import type { Test } from 'tap'
import pg from 'pg'
import type { PostgresTarget } from '../../src/store/postgres/address.ts'

export interface TestPostgres {
  readonly target: PostgresTarget
  /** A new, empty database in this server. */
  createDatabase(): Promise<PostgresTarget>
  /** SIGKILL to all of its processes. */
  kill(): Promise<void>
  /** SIGSTOP to all of its processes, or SIGCONT: connections stay open, and nothing is answered. */
  freeze(yes: boolean): void
  /** After `kill`: on the same port, with the same data. */
  start(): Promise<void>
}

const BINARIES = '/usr/lib/postgresql'

function binary(name: string): string {
  const [newest] = readdirSync(BINARIES).sort((a, b) => Number(b) - Number(a))
  return join(BINARIES, newest ?? '', 'bin', name)
}

/** PostgreSQL refuses to run as root. */
export function asPostgres(
  command: string,
  operands: readonly string[],
): readonly [string, string[]] {
  return process.getuid?.() === 0
    ? ['setpriv', ['--reuid=postgres', '--regid=postgres', '--init-groups', command, ...operands]]
    : [command, [...operands]]
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => {
        resolve(typeof address === 'object' && address !== null ? address.port : 0)
      })
    })
  })
}

interface CertificateFiles {
  readonly certificateFile: string
  readonly privateKeyFile: string
}

/** The server's certificate, and that of the one role that is let in, all of one authority. */
export interface PostgresTls extends CertificateFiles {
  readonly caFile: string
  readonly client: CertificateFiles
}

/** @param settings lines of postgresql.conf. @param tls absent: in the clear */
export async function startPostgres(
  t: Test,
  settings: readonly string[] = [],
  tls?: PostgresTls,
): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-postgres-'))
  const data = join(folder, 'data')
  if (process.getuid?.() === 0) {
    const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres']).toString())
    chownSync(folder, id('-u'), id('-g'))
  }
  const initdb = ['-D', data, '-U', 'latchkey', '-A', 'trust', '--no-sync', '-E', 'UTF8']
  const [command, operands] = asPostgres(binary('initdb'), [...initdb, '--locale=C.UTF-8'])
  execFileSync(command, operands, { cwd: folder, stdio: 'pipe' })
  const port = await freePort()
  const lines = [
    "listen_addresses = '127.0.0.1'",
    `port = ${String(port)}`,
    "unix_socket_directories = ''",
    'fsync = off',
    'max_connections = 100',
    'shared_buffers = 16MB',
    ...settings,
    ...(tls === undefined ? [] : useTls(data, tls)),
  ]
  writeFileSync(join(data, 'postgresql.conf'), `${lines.join('\n')}\n`)
  const target = {
    ...{ host: '127.0.0.1', port, database: 'postgres', user: 'latchkey' },
    ...(tls === undefined ? {} : { tls: clientTls(tls) }),
  }
  let child: ChildProcess | undefined
  let databases = 0

  async function query(sql: string): Promise<void> {
    const { tls: ssl = false, ...address } = target
    const client = new pg.Client({ ...address, ssl, connectionTimeoutMillis: 2000 })
    client.on('error', () => undefined)
    try {
      await client.connect()
      await client.query(sql)
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  async function start(): Promise<void> {
    const [command, operands] = asPostgres(binary('postgres'), ['-D', data])
    child = spawn(command, operands, { cwd: folder, stdio: 'ignore', detached: true })
    const until = performance.now() + 60_000
    for (;;) {
      try {
        await query('SELECT 1')
        return
      } catch (error) {
        if (performance.now() > until) throw error
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }

  async function kill(): Promise<void> {
    const { pid } = child ?? {}
    if (child === undefined || pid === undefined) return
    const ended = new Promise((resolve) => child?.once('exit', resolve))
    child = undefined
    // Its own group, so its backends go as well.
    signalAll(pid, 'SIGKILL')
    await ended
    // Left behind by a server that could not say goodbye.
    if (existsSync(join(data, 'postmaster.pid'))) rmSync(join(data, 'postmaster.pid'))
  }

  t.teardown(async () => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  })
  await start()
  return {
    target,
    async createDatabase() {
      databases += 1
      const database = `test_${String(databases)}`
      await query(`CREATE DATABASE ${database}`)
      return { ...target, database }
    },
    kill,
    freeze(yes) {
      if (child?.pid !== undefined) signalAll(child.pid, yes ? 'SIGSTOP' : 'SIGCONT')
    },
    start,
  }
}

/** The group of the postmaster, and its backends, which have groups of their own. */
function signalAll(pid: number, signal: NodeJS.Signals): void {
  const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  process.kill(-pid, signal)
  for (const child of children.split(' ').filter(Boolean)) {
    try {
      process.kill(Number(child), signal)
    } catch {
      // It has ended meanwhile.
    }
  }
}

/** Nobody gets in but by TLS and with a certificate that names the role. @returns lines of postgresql.conf */
function useTls(data: string, { certificateFile, privateKeyFile, caFile }: PostgresTls): string[] {
  const { uid, gid } = statSync(data)
  const files = { 'server.crt': certificateFile, 'server.key': privateKeyFile, 'ca.crt': caFile }
  for (const [name, from] of Object.entries(files)) {
    writeFileSync(join(data, name), readFileSync(from), { mode: 0o600 })
    chownSync(join(data, name), uid, gid)
  }
  writeFileSync(join(data, 'pg_hba.conf'), 'hostssl all all 127.0.0.1/32 cert\n')
  return ['ssl = on', "ssl_ca_file = 'ca.crt'"]
}

function clientTls({ caFile, client }: PostgresTls): ConnectionOptions {
  return {
    ca: readFileSync(caFile),
    cert: readFileSync(client.certificateFile),
    key: readFileSync(client.privateKeyFile),
  }
}
