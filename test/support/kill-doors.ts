/**
 * Provides both interfaces to the kill switch, the CLI and the admin listener, on both database engines, for tests that
 * cover all combinations.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import type { Test } from 'tap'
import { startAdminOf } from '../../src/app/admin.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { KillSwitch } from '../../src/killswitch/operator/service.ts'
import type { Workspace } from './cli.ts'

type Json = Record<string, unknown>

interface Order {
  readonly keyId?: string
  readonly timeoutMs?: number
  readonly wait?: false
}

/** A JSON response, as the CLI prints it or the admin listener sends it. A refusal has a message and a hint. */
export interface Answer extends Json {
  readonly error?: { readonly message: string; readonly hint?: string }
}

export interface Door {
  kill(order?: Order): Promise<Answer>
  rehearse(): Promise<Answer>
  restore(): Promise<Answer>
  approve(request: string): Promise<Answer>
  withdraw(request: string): Promise<Answer>
}

/** Direct access to the store, as another process would have it. */
export interface Engine {
  /** Blocks all writers but no readers. */
  lock(): Promise<{ release(): void }>
  /** Changes the store without the master key. */
  tamper(sql: string): Promise<void>
}

export interface Place extends Engine {
  /** A kill switch that the test uses directly, alongside the interface under test. */
  readonly beside: KillSwitch
}

export const TOKEN = 'latchkey_token_of_a_test'

export function openCommand({ run }: Workspace): Door {
  const call = async (...words: string[]) => {
    const { code, stdout, stderr } = await run(...words, '--json')
    if (code === 0) return JSON.parse(stdout) as Answer
    // The command may print notes before the JSON.
    const at =
      stderr.lastIndexOf('{"error"') < 0 ? stderr.indexOf('{') : stderr.lastIndexOf('{"error"')
    return JSON.parse(stderr.slice(at)) as Answer
  }
  const scopeOf = (keyId?: string) => [
    ...['--key-store', 'demo'],
    ...(keyId === undefined ? [] : ['--key', keyId]),
  ]
  return {
    kill: ({ keyId, timeoutMs, wait } = {}) =>
      call(
        ...['kill', ...scopeOf(keyId), '--reason', 'test'],
        ...(timeoutMs === undefined ? [] : ['--timeout', `${String(timeoutMs)}ms`]),
        ...(wait === false ? ['--no-wait'] : []),
      ),
    rehearse: () => call('kill', '--rehearse', ...scopeOf()),
    restore: () => call('restore', ...scopeOf(), '--reason', 'test', '--yes'),
    approve: (request) => call('restore', 'approve', request, '--yes'),
    withdraw: (request) => call('restore', 'withdraw', request, '--reason', 'test'),
  }
}

export async function openListener(t: Test, { configFile }: Workspace): Promise<Door> {
  const ignore = () => undefined
  const logger = { debug: ignore, info: ignore, warn: ignore, error: ignore }
  const admin = await startAdminOf(await loadConfig(configFile, {}), {
    isReady: () => true,
    served: { fault: undefined },
    log: { logger },
  })
  if (admin === undefined) throw new TypeError('the configuration has an admin listener')
  t.teardown(() => admin.stop())
  const call = (path: string, body: Json) =>
    new Promise<Answer>((resolve, reject) => {
      const headers = {
        authorization: `Bearer ${TOKEN}`,
        'content-type': 'application/json',
      }
      const { port } = admin.address
      const request = http.request({ port, path, method: 'POST', headers, agent: false })
      request.once('error', reject)
      request.once('response', (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.once('end', () => {
          resolve(JSON.parse(text) as Answer)
        })
      })
      request.end(JSON.stringify(body))
    })
  const scopeOf = (keyId?: string) =>
    keyId === undefined
      ? { kind: 'key-store', keyStore: 'demo' }
      : { kind: 'key', keyStore: 'demo', keyId }
  return {
    kill: ({ keyId, ...rest } = {}) =>
      call('/admin/v1/switches', { scope: scopeOf(keyId), reason: 'test', ...rest }),
    rehearse: () => call('/admin/v1/rehearsals', { scope: scopeOf() }),
    restore: () => call('/admin/v1/restorations', { scope: scopeOf(), reason: 'test' }),
    approve: (request) => call(`/admin/v1/restorations/${request}/approve`, {}),
    withdraw: (request) => call(`/admin/v1/restorations/${request}/withdraw`, { reason: 'test' }),
  }
}

export function sqliteEngine(path: string): Engine {
  return {
    lock() {
      const database = new Sqlite(path, { timeout: 60_000 })
      database.exec('BEGIN IMMEDIATE')
      return Promise.resolve({ release: () => database.close() })
    },
    tamper(sql) {
      const database = new Sqlite(path, { timeout: 60_000 })
      database.exec(sql)
      database.close()
      return Promise.resolve()
    },
  }
}

export function postgresEngine(target: pg.ClientConfig): Engine {
  const connect = async () => {
    const client = new pg.Client(target)
    await client.connect()
    return client
  }
  return {
    async lock() {
      const client = await connect()
      await client.query('BEGIN')
      await client.query('LOCK TABLE facts IN EXCLUSIVE MODE')
      return { release: () => void client.end() }
    },
    async tamper(sql) {
      const client = await connect()
      await client.query(sql)
      await client.end()
    },
  }
}
