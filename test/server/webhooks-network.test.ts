/** Tests webhooks through a forward proxy, and that SIGHUP applies changed webhooks. */
// SPDX-License-Identifier: Apache-2.0
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { startForwardProxy } from '../support/forward-proxy.ts'
import { testPki } from '../support/pki.ts'
import { serveProgram } from '../support/program.ts'
import { startReceiver } from '../support/receiver.ts'
import { eventually, startTestServer } from '../support/server.ts'

t.setTimeout(180_000)

const BY = { reason: 'incident 4711', operator: 'alice', identity: 'os:alice' }
const KILL = { scope: { kind: 'key-store', keyStore: 'demo' }, direction: 'both', ...BY } as const
const KEY = Buffer.alloc(32, 7).toString('base64')
const TOPIC = 'arn:aws:sns:eu-west-1:111122223333:stops'
const { caFile: ca, authority } = await testPki()

/** Sets environment variables until the test ends. */
function setEnvironment(t: Test, values: Readonly<Record<string, string>>): void {
  const before = { ...process.env }
  t.teardown(() => {
    process.env = before
  })
  const others = Object.entries(before).filter(([name]) => !/_proxy$/i.test(name))
  process.env = { ...Object.fromEntries(others), ...values }
}

void t.test('messages go through HTTPS_PROXY, unless NO_PROXY has the host', async (t) => {
  const receiver = await startReceiver(t)
  const { port } = new URL(receiver.url)
  const proxy = await startForwardProxy(t, Number(port))
  setEnvironment(t, {
    ...{ HTTPS_PROXY: proxy.url, NO_PROXY: 'other.example,127.0.0.1' },
    ...{ AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret', WEBHOOK_KEY: KEY },
  })
  const key = { env: 'WEBHOOK_KEY' }
  const server = await startTestServer(t, {
    config: {
      webhooks: [
        { name: 'far', to: { generic: { url: `https://localhost:${port}/far`, key, ca } } },
        { name: 'near', to: { generic: { url: `https://127.0.0.1:${port}/near`, key, ca } } },
        {
          name: 'topic',
          to: { sns: { topicArn: TOPIC, endpoint: `https://localhost:${port}/topic`, ca } },
        },
      ],
    },
  })
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  await control.kill(KILL)
  await eventually(() => receiver.received.length === 3)
  t.same(receiver.received.map(({ path }) => path).sort(), ['/far', '/near', '/topic'])
  await eventually(() => proxy.targets().length === 2)
  t.same(proxy.targets(), [`localhost:${port}`, `localhost:${port}`])
})

void t.test('a proxy that refuses is named in the log, without its password', async (t) => {
  const receiver = await startReceiver(t)
  const { port } = new URL(receiver.url)
  // The proxy permits only port 1, so it refuses to connect to the receiver.
  const proxy = await startForwardProxy(t, 1)
  setEnvironment(t, { HTTPS_PROXY: proxy.url, WEBHOOK_KEY: KEY })
  const to = { generic: { url: `https://localhost:${port}/`, key: { env: 'WEBHOOK_KEY' }, ca } }
  const server = await startTestServer(t, { config: { webhooks: [{ name: 'pager', to }] } })
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  await control.kill(KILL)
  await eventually(() => proxy.targets().length > 0)
  await eventually(async () => (await readFile(server.logFile, 'utf8')).includes('pager'))
  const log = await server.stopAndReadLog()
  const line = log.find(({ webhook }) => webhook === 'pager')
  t.match(line, { reason: 'the proxy in HTTPS_PROXY responded with status 403' })
  t.notMatch(JSON.stringify(log), /pass-word/)
  t.equal(receiver.received.length, 0)
})

interface Settings {
  webhooks?: unknown[]
}

for (const workers of [1, 2])
  void t.test(`SIGHUP applies webhooks, with ${String(workers)} processes`, async (t) => {
    const [one, other] = [await startReceiver(t), await startReceiver(t)]
    const program = await serveProgram(t, { workers })
    const { server, child, linesOf } = program
    const file = (name: string) => join(server.folder, name)
    await writeFile(file('webhook.key'), KEY, { mode: 0o600 })
    await copyFile(ca, file('bundle.pem'))
    const control = await openKillSwitch(server.config)
    t.teardown(() => control.close())
    const entry = (name: string, url: string, more: object = {}) => ({
      ...{ name, ...more },
      to: { generic: { url, key: { file: 'webhook.key' }, ca: 'bundle.pem' } },
    })
    const reload = async (webhooks: readonly unknown[], outcome: string) => {
      const settings = parse(await readFile(server.configFile, 'utf8')) as Settings
      settings.webhooks = [...webhooks]
      await writeFile(server.configFile, stringify(settings))
      const before = linesOf(outcome).length
      child.kill('SIGHUP')
      await eventually(() => linesOf(outcome).length > before)
      return linesOf(outcome).at(-1)
    }
    const told = (receiver: typeof one) => receiver.messages().map(({ type }) => type)

    const applied = await reload([entry('pager', one.url)], 'configuration reloaded')
    t.match(applied, { applied: ['webhooks[0]'] })
    // A new webhook delivers only events created after its first poll, so retry.
    await eventually(async () => {
      await control.kill(KILL)
      return one.received.length > 0
    })

    one.answer(503)
    await control.restore({ target: { scope: KILL.scope }, ...BY })
    await eventually(() => linesOf('could not deliver a webhook message; retrying').length > 0)
    await reload([entry('pager', other.url)], 'configuration reloaded')
    await eventually(() => told(other).includes('restore'))
    t.notOk(told(other).includes('kill'), 'the position stays: nothing is sent twice')

    const faulty = entry('chat', other.url)
    await writeFile(file('short.key'), 'c2hvcnQ=', { mode: 0o600 })
    faulty.to.generic.key.file = 'short.key'
    const refused = await reload([faulty], 'configuration not reloaded; keeping the current one')
    t.match(refused, { err: { code: 'WEBHOOK_KEY_INVALID' } })
    await control.kill(KILL)
    await eventually(() => told(other).includes('kill'))

    const count = other.received.length
    await writeFile(file('bundle.pem'), 'not a bundle')
    await control.restore({ target: { scope: KILL.scope }, ...BY })
    await eventually(() => linesOf('could not deliver a webhook message; retrying').length > 1)
    await writeFile(file('bundle.pem'), authority.certificatePem)
    await eventually(() => other.received.length > count)

    await reload([], 'configuration reloaded')
    const last = other.received.length
    await reload([entry('second', one.url)], 'configuration reloaded')
    one.answer(200)
    await eventually(async () => {
      await control.kill(KILL)
      return one.messages().some(({ type }) => type === 'kill-again')
    })
    t.equal(other.received.length, last, 'a removed webhook sends nothing')
  })

void t.test("a dead man's switch that lapses is told once", async (t) => {
  const receiver = await startReceiver(t, { isPlain: true })
  setEnvironment(t, { WEBHOOK_KEY: KEY })
  const to = { generic: { url: receiver.url, key: { env: 'WEBHOOK_KEY' } } }
  const server = await startTestServer(t, { config: { webhooks: [{ name: 'pager', to }] } })
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  await control.startDeadMan({ ...BY, keyStore: 'demo', mayRestore: true, ttlMs: 1000 })
  await eventually(() => receiver.received.length > 0)
  t.match(receiver.messages(), [
    {
      type: 'deadman-lapsed',
      event: 'kill',
      text: /^A dead man's switch was not renewed, and closed its key store: demo by instance /,
      data: { keyStore: 'demo', reason: "the dead man's switch was not renewed in time" },
    },
  ])
})
