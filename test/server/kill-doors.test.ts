/** Runs one table of cases through both the command and the admin listener, on both engines; they must behave alike. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import http from 'node:http'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import t, { type Test } from 'tap'
import { startAdminOf } from '../../src/app/admin.ts'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { loadConfig } from '../../src/config/load.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import type { KillSwitch } from '../../src/killswitch/operator/service.ts'
import { identity } from '../contract/control-fixture.ts'
import { type Workspace, workspace } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(600_000)

type Json = Record<string, unknown>

interface Order {
  readonly keyId?: string
  readonly timeoutMs?: number
  readonly wait?: false
}

/** A door's answer: what it prints or sends as JSON; for a refusal, the message and the hint. */
interface Answer extends Json {
  readonly error?: { readonly message: string; readonly hint?: string }
}

interface Door {
  kill(order?: Order): Promise<Answer>
  rehearse(): Promise<Answer>
  restore(): Promise<Answer>
  approve(request: string): Promise<Answer>
  withdraw(request: string): Promise<Answer>
}

/** The store as others can reach it. */
interface Engine {
  /** Blocks every change but no reader. */
  lock(): Promise<{ release(): void }>
  /** Writes to it without the master key. */
  tamper(sql: string): Promise<void>
}

interface Place extends Engine {
  /** Used by the test in addition to the door. */
  readonly beside: KillSwitch
}

const TOKEN = 'latchkey_token_of_a_test'
const MASTER_KEY = { file: 'master.key' }

function openCommand({ run }: Workspace): Door {
  const call = async (...words: string[]) => {
    const { code, stdout, stderr } = await run(...words, '--json')
    if (code === 0) return JSON.parse(stdout) as Answer
    // Notes precede the JSON.
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
    approve: (request) => call('restore', 'approve', request),
    withdraw: (request) => call('restore', 'withdraw', request, '--reason', 'test'),
  }
}

async function openListener(t: Test, { configFile }: Workspace): Promise<Door> {
  const ignore = () => undefined
  const logger = { debug: ignore, info: ignore, warn: ignore, error: ignore }
  const admin = await startAdminOf(await loadConfig(configFile, {}), {
    isReady: () => true,
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

interface Case {
  readonly name: string
  /** How many people a restoration takes; one, unless said. */
  readonly people?: number
  run(t: Test, door: Door, place: Place): Promise<void>
}

const CASES: readonly Case[] = [
  {
    name: 'no instance runs: it is revoked at once, with a receipt',
    async run(t, door) {
      const answer = await door.kill()
      t.match(answer, { state: 'revoked', isNew: true, instances: [], receipt: {} })
      t.match(await door.kill(), { state: 'revoked', isNew: false }, 'and again')
    },
  },
  {
    name: 'a store that is locked for five seconds is waited for',
    async run(t, door, { lock }) {
      const { release } = await lock()
      setTimeout(release, 5000)
      t.match(await door.kill(), { state: 'revoked', isNew: true })
    },
  },
  {
    name: 'a store that is locked for longer than the caller waits: an error that says how to stop a host',
    async run(t, door, { lock }) {
      const { release } = await lock()
      const { error } = await door.kill({ timeoutMs: 500 })
      release()
      t.match(error?.hint, /create its sentinel file \(touch .*\.block\)/)
    },
  },
  {
    name: 'an instance that does not acknowledge within the time: written, and not revoked',
    async run(t, door, { beside }) {
      await register(beside.store, identity('deaf', 3_600_000), 0)
      const { error } = await door.kill({ timeoutMs: 5000 })
      t.match(error?.message, /^the switch is written, but 1 of 1 instances have not acknowledged/)
      t.equal((await beside.status(0)).switches.length, 1)
    },
  },
  {
    name: 'without the wait, it is written',
    async run(t, door, { beside }) {
      await register(beside.store, identity('deaf', 3_600_000), 0)
      const answer = await door.kill({ wait: false })
      t.match(answer, { state: 'written', isNew: true })
      t.equal(answer['receipt'], undefined)
    },
  },
  {
    name: 'a switch that is lifted meanwhile is not called revoked',
    async run(t, door, { beside }) {
      await register(beside.store, identity('deaf', 3_600_000), 0)
      const killing = door.kill()
      await eventually(async () => (await beside.status(0)).switches.length === 1)
      const target = { scope: { kind: 'key-store', keyStore: 'demo' } } as const
      await beside.restore({ target, reason: 'test', operator: 'bob', identity: 'os:bob' })
      t.match((await killing).error?.message, /^the switch was lifted during the wait/)
    },
  },
  {
    name: 'a key that is not known is killed, with a warning',
    async run(t, door) {
      t.match(await door.kill({ keyId: 'mispelt' }), {
        state: 'revoked',
        warning: /^the key store demo has no known key mispelt/,
      })
    },
  },
  {
    name: 'a store that others have changed: nothing is written, and servers are told to look',
    async run(t, door, { tamper, beside }) {
      await beside.kill({
        ...{ scope: { kind: 'all' }, direction: 'decrypt', reason: 'r', operator: 'o' },
      })
      const before = await beside.store.database.epoch()
      await tamper("UPDATE switches SET direction = 'encrypt'")
      const answer = await door.kill()
      t.match(answer, { state: 'revoked', isNew: false, epoch: before + 1 })
      t.equal(answer['switch'], undefined)
      t.equal(answer['receipt'], undefined)
    },
  },
  {
    name: 'a receipt that cannot be written does not take revoked back',
    async run(t, door, { beside, lock }) {
      await register(beside.store, identity('dead', 500), 0)
      const killing = door.kill()
      await eventually(async () => (await beside.status(0)).switches.length === 1)
      const { release } = await lock()
      const answer = await killing
      release()
      t.match(answer, { state: 'revoked', instances: [{ id: 'dead', how: 'lease-ended' }] })
      t.equal(answer['receipt'], undefined)
    },
  },
  {
    name: 'a rehearsal writes nothing',
    async run(t, door, { beside }) {
      const before = await beside.store.database.epoch()
      t.match(await door.rehearse(), {
        scope: { kind: 'key-store', keyStore: 'demo' },
        ...{ direction: 'both', requests: 0, wouldBeRefused: 0 },
      })
      t.equal(await beside.store.database.epoch(), before)
    },
  },
  {
    name: 'restoring takes two people, and nobody is two',
    people: 2,
    async run(t, door, { beside }) {
      await door.kill()
      const asked = await door.restore()
      t.match(asked, { state: 'requested', needsApproval: true })
      const { id = '' } = asked['request'] as { id?: string }
      const refused = await door.approve(id)
      t.match(refused.error?.message, /the same person/)
      t.equal((await beside.status(0)).switches.length, 1)
      const approved = await beside.approve({ id, operator: 'bob', identity: 'os:bob' })
      t.match(approved, { state: 'restored' })
      t.same((await beside.status(0)).switches, [])
    },
  },
  {
    name: 'a person approves what another has asked for',
    people: 2,
    async run(t, door, { beside }) {
      await door.kill()
      const target = { scope: { kind: 'key-store', keyStore: 'demo' } } as const
      const asked = await beside.restore({
        ...{ target, reason: 'test', operator: 'bob', identity: 'os:bob' },
      })
      const id = asked.state === 'requested' ? asked.request.id : ''
      t.match(await door.approve(id), { state: 'restored' })
      t.same((await beside.status(0)).switches, [])
    },
  },
  {
    name: 'a request that was withdrawn, or overtaken by another kill, is gone',
    people: 2,
    async run(t, door, { beside }) {
      await door.kill()
      const ask = async () => ((await door.restore())['request'] as { id: string }).id
      const by = { operator: 'bob', identity: 'os:bob' }
      const withdrawn = await ask()
      t.equal((await door.withdraw(withdrawn)).error, undefined)
      await t.rejects(beside.approve({ id: withdrawn, ...by }), { code: 'NO_SUCH_REQUEST' })
      const overtaken = await ask()
      await door.kill()
      await t.rejects(beside.approve({ id: overtaken, ...by }), { code: 'NO_SUCH_REQUEST' })
      t.match((await door.approve(overtaken)).error?.message, /./)
      t.equal((await beside.status(0)).switches.length, 1)
    },
  },
  {
    name: 'what is not killed is not restored',
    async run(t, door) {
      t.match((await door.restore()).error?.message, /./)
    },
  },
]

const postgres = await startPostgres(t)

function sqliteEngine(path: string): Engine {
  return {
    lock() {
      const database = new Sqlite(path)
      database.exec('BEGIN IMMEDIATE')
      return Promise.resolve({ release: () => database.close() })
    },
    tamper(sql) {
      const database = new Sqlite(path)
      database.exec(sql)
      database.close()
      return Promise.resolve()
    },
  }
}

function postgresEngine(target: pg.ClientConfig): Engine {
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

for (const { name, people = 1, run } of CASES) {
  for (const engineName of ['SQLite', 'PostgreSQL'] as const) {
    for (const doorName of ['command', 'admin listener'] as const) {
      void t.test(`${doorName}, ${engineName}: ${name}`, async (t) => {
        const sha256 = createHash('sha256').update(TOKEN).digest('hex')
        const admin = { port: 0, tokens: [{ name: 'alice', role: 'admin', sha256 }] }
        const control = { restore: { people } }
        const { host, port, database, user } = await postgres.createDatabase()
        const target = { host, port, database, user }
        const store = { postgres: { ...target, tls: { mode: 'off' } }, masterKey: MASTER_KEY }
        const place = await workspace(t, {
          settings: { admin, control, ...(engineName === 'SQLite' ? {} : { store }) },
        })
        const beside = await openKillSwitch(await loadConfig(place.configFile, {}))
        t.teardown(() => beside.close())
        const door = doorName === 'command' ? openCommand(place) : await openListener(t, place)
        const engine =
          engineName === 'SQLite'
            ? sqliteEngine(join(place.folder, 'latchkey.db'))
            : postgresEngine(target)
        await run(t, door, { beside, ...engine })
      })
    }
  }
}
