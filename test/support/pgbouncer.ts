/** Runs PgBouncer in transaction pooling mode in front of a PostgreSQL server for the duration of a test. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import pg from 'pg'
import { asPostgres, freePort, type TestPostgres } from './postgres.ts'
import { eventually } from './server.ts'

/** Debian installs pgbouncer in a folder that is not on an ordinary user's PATH. */
const PROGRAM = '/usr/sbin/pgbouncer'
/** The pool is smaller than the number of our sessions, so that sessions have to share connections. */
const POOL_SIZE = 3

/**
 * @param settings lines for pgbouncer.ini
 * @returns PgBouncer's port
 */
export async function startPgbouncer(
  t: Test,
  { target }: TestPostgres,
  settings: readonly string[] = [],
): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-pgbouncer-'))
  chmodSync(folder, 0o755)
  const port = await freePort()
  const file = join(folder, 'pgbouncer.ini')
  const { host, user } = target
  const lines = [
    '[databases]',
    `* = user=${user} host=${host} port=${String(target.port)}`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${String(port)}`,
    'unix_socket_dir =',
    'auth_type = any',
    'pool_mode = transaction',
    `default_pool_size = ${String(POOL_SIZE)}`,
    ...settings,
  ]
  writeFileSync(file, `${lines.join('\n')}\n`)
  const [command, operands] = asPostgres(PROGRAM, ['-q', file])
  const child = spawn(command, operands, { cwd: folder, stdio: 'ignore' })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  const isUp = async () => {
    const client = new pg.Client({ ...target, password: '', port, connectionTimeoutMillis: 2000 })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return true
    } catch {
      return false
    } finally {
      await client.end().catch(() => undefined)
    }
  }
  await eventually(isUp)
  return port
}
