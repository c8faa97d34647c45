/** Tests a store that is damaged or modified, without a new epoch, while the server is running. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { KILLED, KEY_ID, type TestServer, eventually, startTestServer } from '../support/server.ts'

t.setTimeout(120_000)

const HEADER_BYTES = 4096

async function serve(t: Test) {
  const server = await startTestServer(t, { config: { control: KILLED } })
  const encrypt = async () =>
    (await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const { path } = server.config.store as { readonly path: string }
  return { server, encrypt, path }
}

const reasonOf = (server: TestServer) => server.running.gateStats().reason

void t.test(
  'overwritten pages cause refusals, although the server has them in memory',
  async (t) => {
    const { server, encrypt, path } = await serve(t)
    const database = new Sqlite(path, { timeout: 60_000 })
    database.pragma('wal_checkpoint(TRUNCATE)')
    database.close()
    const file = await open(path, 'r+')
    t.teardown(() => file.close())
    const length = (await file.stat()).size - HEADER_BYTES
    await file.write(randomBytes(length), 0, length, HEADER_BYTES)
    await eventually(() => reasonOf(server) === 'STORE_LOST')
    t.equal(await encrypt(), 400)
    await t.rejects(openKillSwitch(server.config), { code: 'STORE_CORRUPT' })
  },
)

void t.test("deleting a switch's row externally causes everything to be refused", async (t) => {
  const { server, encrypt, path } = await serve(t)
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  const scope = { kind: 'key-store', keyStore: 'demo' } as const
  const order = { scope, direction: 'decrypt', reason: 'r', operator: 'o' } as const
  await control.wait(await control.kill(order))
  t.equal(await encrypt(), 200)
  const database = new Sqlite(path, { timeout: 60_000 })
  t.teardown(() => database.close())
  database.exec('DELETE FROM switches')
  await eventually(() => reasonOf(server) === 'STORE_LOST')
  t.equal(await encrypt(), 400)
  const heartbeat = database.prepare('SELECT reason FROM instances').pluck()
  await eventually(() => heartbeat.get() === 'STORE_LOST')
})

void t.test("the record of the store's key is removed: everything is refused", async (t) => {
  const { server, encrypt, path } = await serve(t)
  const database = new Sqlite(path, { timeout: 60_000 })
  t.teardown(() => database.close())
  const record = database.prepare("SELECT * FROM facts WHERE name = 'master_key'").get() as {
    name: string
  }
  database.exec("DELETE FROM facts WHERE name = 'master_key'")
  await eventually(() => reasonOf(server) === 'STORE_LOST')
  t.equal(await encrypt(), 400)
  const names = Object.keys(record)
  database
    .prepare(`INSERT INTO facts (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`)
    .run(...Object.values(record))
  await eventually(() => reasonOf(server) === undefined)
  t.equal(await encrypt(), 200, 'until the store is again as Latchkey wrote it')
})

void t.test(
  'a host that has lost its high-water mark refuses until an operator accepts the store',
  async (t) => {
    const { server, encrypt } = await serve(t)
    await server.stop()
    await rm(server.config.control.highWaterFile)
    await server.start()
    t.equal(reasonOf(server), 'EPOCH_WENT_BACK', 'nobody is there who knows the store')
    t.equal(await encrypt(), 400)
    const control = await openKillSwitch(server.config)
    t.teardown(() => control.close())
    await control.acceptEpoch({ operator: 'o', reason: 'nothing was killed' })
    await eventually(async () => (await encrypt()) === 200)
    await server.stop()
    await server.start()
    t.equal(reasonOf(server), undefined, 'it has a mark again')
  },
)
