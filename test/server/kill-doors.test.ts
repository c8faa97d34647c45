/**
 * Runs the same kill switch cases through the CLI and the admin listener, on both database engines, and expects
 * identical behavior.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { loadConfig } from '../../src/config/load.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import { identity } from '../contract/control-fixture.ts'
import { workspace } from '../support/cli.ts'
import {
  type Door,
  type Place,
  TOKEN,
  openCommand,
  openListener,
  postgresEngine,
  sqliteEngine,
} from '../support/kill-doors.ts'
import { startPostgres } from '../support/postgres.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(600_000)
// Each case has its own store and spends most of its time waiting, so cases can run in parallel.
t.jobs = 4

const MASTER_KEY = { file: 'master.key' }

interface Case {
  readonly name: string
  /** Number of people required for a restore (default: one). */
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
      // The lease ends long after the store is locked, even on a busy machine.
      await register(beside.store, identity('dead', 5000), 0)
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

for (const { name, people = 1, run } of CASES) {
  for (const engineName of ['SQLite', 'PostgreSQL'] as const) {
    for (const doorName of ['command', 'admin listener'] as const) {
      void t.test(`${doorName}, ${engineName}: ${name}`, { buffered: true }, async (t) => {
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
