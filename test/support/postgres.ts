/** Starts a private PostgreSQL server in a temporary folder, on a free port, for the duration of a test. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ConnectionOptions } from 'node:tls'
import type { Test } from 'tap'
import pg from 'pg'
import type { PostgresTarget } from '../../src/store/postgres/address.ts'

export interface TestPostgres {
  readonly target: PostgresTarget
  /** Runs a statement as the superuser, in the database `postgres`. */
  query(sql: string): Promise<readonly Record<string, unknown>[]>
  /** Replaces pg_hba.conf with these lines and reloads it. */
  admit(lines: readonly string[]): Promise<void>
  /** Replaces the server's certificate and CA, and reloads them. */
  useTls(tls: PostgresTls): Promise<void>
  /**
   * Starts a hot standby that streams from this server and listens on its own port.
   * @param settings lines for the standby's postgresql.conf
   */
  standby(settings?: readonly string[]): Promise<TestPostgres>
  /** Promotes this standby to primary. */
  promote(): Promise<void>
  /** Restarts the killed server as a standby without a primary. */
  startAsStandby(): Promise<void>
  /** Creates an empty database on this server. */
  createDatabase(): Promise<PostgresTarget>
  /** Sends SIGKILL to all server processes. */
  kill(): Promise<void>
  /**
   * Sends SIGSTOP or SIGCONT to all server processes. While they are stopped, connections stay open but receive no
   * response.
   */
  freeze(yes: boolean): void
  /** Restarts the killed server on the same port with the same data. */
  start(): Promise<void>
}

const BINARIES = '/usr/lib/postgresql'

export function binary(name: string): string {
  const [newest] = readdirSync(BINARIES).sort((a, b) => Number(b) - Number(a))
  return join(BINARIES, newest ?? '', 'bin', name)
}

/**
 * Returns the command to run. As root, the command switches to the user postgres, because PostgreSQL refuses to run as
 * root.
 */
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

/** Certificates for the server and for the only permitted role, all from one authority. */
export interface PostgresTls extends CertificateFiles {
  readonly caFile: string
  readonly client: CertificateFiles
}

/**
 * @param settings lines for postgresql.conf
 * @param tls omit for unencrypted connections
 */
export async function startPostgres(
  t: Test,
  settings: readonly string[] = [],
  tls?: PostgresTls,
): Promise<TestPostgres> {
  const { folder, data } = makeFolder()
  copyNewCluster(folder, data)
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
  return serve(t, { folder, port, ...(tls === undefined ? {} : { tls }) })
}

/** A new cluster, stored next to the compiled tests, because initdb takes a second and a copy a fraction of that. */
const NEW_CLUSTER = fileURLToPath(new URL('../../postgres', import.meta.url))

/** Copies the new cluster to `data`. The first call after a build creates the cluster. */
function copyNewCluster(folder: string, data: string): void {
  const copy = (from: string, to: string) => execFileSync('cp', ['-a', from, to])
  if (existsSync(NEW_CLUSTER)) {
    copy(NEW_CLUSTER, data)
    return
  }
  const initdb = ['-D', data, '-U', 'latchkey', '-A', 'trust', '--no-sync', '-E', 'UTF8']
  runBinary(folder, 'initdb', [...initdb, '--locale=C.UTF-8'])
  // If several processes create a cluster at once, each uses its own, and later processes use the one stored first.
  const own = `${NEW_CLUSTER}.${String(process.pid)}`
  copy(data, own)
  try {
    renameSync(own, NEW_CLUSTER)
  } catch {
    rmSync(own, { recursive: true, force: true })
  }
}

/** Creates a folder whose ownership PostgreSQL accepts, and returns it with the data folder's path. */
function makeFolder(): { readonly folder: string; readonly data: string } {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-postgres-'))
  if (process.getuid?.() === 0) {
    const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres']).toString())
    chownSync(folder, id('-u'), id('-g'))
  }
  return { folder, data: join(folder, 'data') }
}

function runBinary(folder: string, name: string, operands: readonly string[]): void {
  const [command, all] = asPostgres(binary(name), operands)
  execFileSync(command, all, { cwd: folder, stdio: 'pipe' })
}

/** Starts the server in the folder. */
async function serve(
  t: Test,
  given: { readonly folder: string; readonly port: number; readonly tls?: PostgresTls },
): Promise<TestPostgres> {
  const { folder, port } = given
  let { tls } = given
  const data = join(folder, 'data')
  const target = {
    ...{ host: '127.0.0.1', port, database: 'postgres', user: 'latchkey' },
    ...(tls === undefined ? {} : { tls: clientTls(tls) }),
  }
  let child: ChildProcess | undefined
  let databases = 0

  async function query(sql: string): Promise<readonly Record<string, unknown>[]> {
    const address = { host: target.host, port, database: 'postgres', user: 'latchkey' }
    const ssl = tls === undefined ? false : clientTls(tls)
    const client = new pg.Client({ ...address, ssl, connectionTimeoutMillis: 2000 })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return (await client.query<Record<string, unknown>>(sql)).rows
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
    // The server has its own process group, so this also kills its backends.
    signalAll(pid, 'SIGKILL')
    await ended
    // A killed server leaves this file behind.
    if (existsSync(join(data, 'postmaster.pid'))) rmSync(join(data, 'postmaster.pid'))
  }

  t.teardown(async () => {
    await kill()
    rmSync(folder, { recursive: true, force: true })
  })
  await start()
  return {
    target,
    query,
    async admit(lines) {
      writeFileSync(join(data, 'pg_hba.conf'), `${lines.join('\n')}\n`)
      await query('SELECT pg_reload_conf()')
    },
    async useTls(next) {
      useTls(data, next)
      await query('SELECT pg_reload_conf()')
      tls = next
    },
    async standby(settings = []) {
      const replica = makeFolder()
      const from = ['-h', target.host, '-p', String(port), '-U', target.user]
      const how = ['-D', replica.data, '-R', '-X', 'stream', '-c', 'fast', '--no-sync']
      runBinary(replica.folder, 'pg_basebackup', [...from, ...how])
      const own = await freePort()
      const lines = [`port = ${String(own)}`, ...settings]
      appendFileSync(join(replica.data, 'postgresql.conf'), `${lines.join('\n')}\n`)
      return serve(t, { folder: replica.folder, port: own })
    },
    promote() {
      runBinary(folder, 'pg_ctl', ['promote', '-D', data, '-w'])
      return Promise.resolve()
    },
    async startAsStandby() {
      writeFileSync(join(data, 'standby.signal'), '')
      await start()
    },
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

/** Signals the process groups of the postmaster and its backends. */
function signalAll(pid: number, signal: NodeJS.Signals): void {
  const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  process.kill(-pid, signal)
  for (const child of children.split(' ').filter(Boolean)) {
    try {
      process.kill(Number(child), signal)
    } catch {
      // The process has already exited.
    }
  }
}

/**
 * Admits only TLS clients whose certificate names the role.
 * @returns lines for postgresql.conf
 */
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
