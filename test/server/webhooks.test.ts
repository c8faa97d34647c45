/** Tests webhooks on real servers: what receivers get, how often, and that a kill never waits for delivery. */
// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto'
import { unlink, writeFile } from 'node:fs/promises'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { startServer } from '../../src/app/server.ts'
import { testPki } from '../support/pki.ts'
import { startPostgres } from '../support/postgres.ts'
import { startReceiver, type TestReceiver } from '../support/receiver.ts'
import { KILLED, eventually, startTestServer, type TestServer } from '../support/server.ts'

t.setTimeout(180_000)

const BY = { reason: 'incident 4711', operator: 'alice', identity: 'os:alice' }
const KEY = Buffer.alloc(32, 7)
const STOP = { scope: { kind: 'key-store', keyStore: 'demo' }, direction: 'both', ...BY } as const
const { caFile: ca } = await testPki()

/** Starts a receiver, and a server that sends to it. */
async function serve(
  t: Test,
  config: { readonly control?: object; readonly store?: object } = {},
  webhook: object = {},
) {
  process.env['WEBHOOK_KEY'] = `whsec_${KEY.toString('base64')}`
  const receiver = await startReceiver(t)
  const to = { generic: { url: `${receiver.url}hook`, key: { env: 'WEBHOOK_KEY' }, ca } }
  const server = await startTestServer(t, {
    config: {
      ...config,
      control: { ...KILLED, ...config.control },
      webhooks: [{ name: 'pager', to, ...webhook }],
    },
  })
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  return { receiver, server, control }
}

const kindsOf = (receiver: TestReceiver) => receiver.messages().map(({ type }) => type)

async function metric(server: TestServer, name: string): Promise<string | undefined> {
  const text = await server.running.metrics()
  return text.split('\n').find((line) => line.startsWith(name))
}

async function nothingPends(server: TestServer): Promise<boolean> {
  return (await metric(server, 'latchkey_webhook_pending'))?.endsWith(' 0') === true
}

void t.test('a receiver gets kills, requests and restores, in order and signed', async (t) => {
  const { receiver, server, control } = await serve(t, { control: { restore: { people: 2 } } })
  await control.kill(STOP)
  await control.drill({ keyStore: 'demo', operator: 'alice' })
  const asked = await control.restore({ target: { scope: STOP.scope }, ...BY })
  const id = asked.state === 'requested' ? asked.request.id : ''
  await control.approve({ id, operator: 'bob', identity: 'os:bob' })
  await eventually(() => receiver.received.length === 3)
  t.same(kindsOf(receiver), ['kill', 'restore-requested', 'restore'], 'a drill is told nobody')
  const [first] = receiver.messages()
  t.match(first, {
    event: 'kill',
    text: 'Access was stopped: key store demo by alice (incident 4711)',
    data: {
      operator: 'alice',
      reason: 'incident 4711',
      scope: 'key store demo',
      direction: 'both',
    },
  })
  for (const { path, headers, body } of receiver.received) {
    const { 'webhook-id': id, 'webhook-timestamp': time, 'webhook-signature': signature } = headers
    const expected = createHmac('sha256', KEY).update(`${String(id)}.${String(time)}.${body}`)
    t.equal(signature, `v1,${expected.digest('base64')}`)
    t.equal((JSON.parse(body) as { id: string }).id, id)
    t.equal(path, '/hook')
  }
  const ids = receiver.received.map(({ headers }) => headers['webhook-id'])
  t.equal(new Set(ids).size, 3, 'each message has an id of its own')
  await eventually(() => nothingPends(server))
  t.match(
    await metric(server, 'latchkey_webhook_messages_total{webhook="pager",outcome="delivered"}'),
    / 3$/,
  )
})

void t.test('a receiver that hangs delays no kill, and gets the same message again', async (t) => {
  const { receiver, server, control } = await serve(t, {}, { timeout: '200ms' })
  receiver.answer('hang')
  const kill = await control.kill(STOP)
  await control.wait(kill)
  await eventually(() => receiver.received.length >= 2)
  t.match(await metric(server, 'latchkey_webhook_pending'), / 1$/)
  receiver.answer(200)
  await eventually(() => nothingPends(server))
  const ids = receiver.received.map(({ headers }) => headers['webhook-id'])
  t.equal(new Set(ids).size, 1, 'the same id at every attempt')
  const log = await server.stopAndReadLog()
  const said = log.filter(({ webhook }) => webhook === 'pager').map(({ msg }) => msg)
  t.same(said, [
    'could not deliver a webhook message; retrying',
    'webhook receiver is responding again',
  ])
})

void t.test('a permanently rejected message is abandoned, and the next one is sent', async (t) => {
  const { receiver, server, control } = await serve(t)
  receiver.answer(422)
  await control.kill(STOP)
  const isCounted = async (outcome: string) =>
    (
      await metric(server, `latchkey_webhook_messages_total{webhook="pager",outcome="${outcome}"}`)
    )?.endsWith(' 1') === true
  await eventually(() => isCounted('dropped'))
  receiver.answer(200)
  await control.restore({ target: { scope: STOP.scope }, ...BY })
  await eventually(() => isCounted('delivered'))
  t.same(kindsOf(receiver), ['kill', 'restore'])
})

void t.test('a refusal of everything is reported, and so is its end', async (t) => {
  const { receiver, server } = await serve(t)
  const { sentinelFile } = server.config.control
  await writeFile(sentinelFile, '')
  await eventually(() => receiver.received.length === 1)
  await unlink(sentinelFile)
  await eventually(() => receiver.received.length === 2)
  t.match(receiver.messages(), [
    { type: 'refusing', event: 'refusal', data: { reason: 'SENTINEL', pid: process.pid } },
    { type: 'serving', data: { reason: 'SENTINEL' } },
  ])
})

const { target } = await startPostgres(t)
for (const [engine, store] of [
  ['SQLite', {}],
  [
    'PostgreSQL',
    {
      store: {
        postgres: { ...target, tls: { mode: 'off' } },
        masterKey: { file: 'master.key' },
        pollInterval: '50ms',
      },
    },
  ],
] as const)
  void t.test(
    `two instances send each event once, and one continues alone; ${engine}`,
    async (t) => {
      const { receiver, server, control } = await serve(t, store)
      const other = await startServer(server.config, { logFile: `${server.logFile}.other` })
      t.teardown(() => other.stop())
      for (const round of [1, 2, 3]) {
        await control.kill({ ...STOP, reason: `round ${String(round)}` })
        await control.restore({ target: { scope: STOP.scope }, ...BY })
      }
      await eventually(() => receiver.received.length === 6)
      // The server records the delivery once the receiver's response has arrived. Until then, it may send the event
      // again.
      await eventually(() => nothingPends(server))
      await server.stop()
      await control.kill(STOP)
      await eventually(() => receiver.received.length === 7)
      t.same(
        kindsOf(receiver),
        [...Array.from({ length: 3 }, () => ['kill', 'restore']), 'kill'].flat(),
      )
    },
  )

void t.test(
  'events created while no server runs are sent at the next start; a forged cursor hides none',
  async (t) => {
    const { receiver, server, control } = await serve(t)
    await control.kill(STOP)
    await eventually(() => receiver.received.length === 1)
    await eventually(() => nothingPends(server))
    await server.stop()
    await control.restore({ target: { scope: STOP.scope }, ...BY })
    const database = new Database(String(server.config.store.path))
    database.prepare('UPDATE webhooks SET seq = seq + 1').run()
    database.close()
    await server.start()
    await eventually(() => kindsOf(receiver).includes('restore'))
    t.same(kindsOf(receiver), ['kill', 'kill', 'restore'], 'the kill is told again')
    const [first, second] = receiver.received.map(({ headers }) => headers['webhook-id'])
    t.equal(first, second, 'with its id')
  },
)
