/** Tests the tripwire on a real server: rehearse mode, throttling, a kill with its receipt, and a restart. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { KILLED, KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

t.setTimeout(180_000)

const THIEF = 'arn:aws:sts::123456789012:assumed-role/reporting/thief'
const HONEST = 'arn:aws:sts::123456789012:assumed-role/payroll/i-1'
const LIMIT = 5

async function serve(t: Test, tripwire: Record<string, unknown>) {
  const server = await startTestServer(t, {
    config: { control: KILLED, tripwire, activity: { flushInterval: '100ms' } },
  })
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const decrypt = async (awsPrincipalArn: string) => {
    const more = { requestMetadata: requestMetadata('Decrypt', { awsPrincipalArn }) }
    const answer = await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(json, more))
    const { errorName = '' } = answer.json as { errorName?: string }
    return `${String(answer.status)} ${errorName}`.trim()
  }
  return { server, decrypt }
}

const bulk = (action: string) => ({ name: 'bulk', limit: LIMIT, window: '1h', action })

async function repeat(times: number, work: () => Promise<string>): Promise<readonly string[]> {
  const answers: string[] = []
  for (let i = 0; i < times; i++) answers.push(await work())
  return answers
}

async function eventsOf(server: TestServer) {
  const control = await openKillSwitch(server.config)
  try {
    const { events, switches } = await control.status(50)
    return { events, switches, receipts: await control.receipts() }
  } finally {
    await control.close()
  }
}

const OK = '200'
const THROTTLED = '429 ThrottlingException'

void t.test(
  'a rehearsal logs, counts and records what it would have done, and refuses nothing',
  async (t) => {
    const { server, decrypt } = await serve(t, { rules: [bulk('kill')] })
    const answers = await repeat(LIMIT + 3, () => decrypt(THIEF))
    t.same(new Set(answers), new Set([OK]))
    await eventually(async () =>
      (await eventsOf(server)).events.some(({ kind }) => kind === 'tripwire'),
    )
    const { events, switches } = await eventsOf(server)
    const found = events.find(({ kind }) => kind === 'tripwire')
    t.match(found, {
      operator: /^automatic: tripwire on /,
      detail: {
        ...{ rule: 'bulk', action: 'kill', done: 'log', measured: LIMIT + 1, limit: LIMIT },
        subject: { principal: 'arn:aws:sts::123456789012:assumed-role/reporting' },
      },
    })
    t.same(switches, [])
    const metrics = await server.running.metrics()
    t.match(metrics, /latchkey_tripwire_trips_total\{rule="bulk",done="log"\} 1/)
    const lines = await server.stopAndReadLog()
    t.match(
      lines.find(({ msg }) => msg === 'a tripwire rule was broken'),
      { level: 40, rule: 'bulk', done: 'log' },
    )
  },
)

void t.test(
  "throttle refuses only this caller's Decrypt requests, with ThrottlingException",
  async (t) => {
    const { server, decrypt } = await serve(t, { mode: 'enforce', rules: [bulk('throttle')] })
    t.same(await repeat(LIMIT + 2, () => decrypt(THIEF)), [
      ...Array<string>(LIMIT + 1).fill(OK),
      THROTTLED,
    ])
    t.equal(await decrypt(THIEF.replace('thief', 'another-session')), THROTTLED)
    t.equal(await decrypt(HONEST), OK)
    const encrypted = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
    t.equal(encrypted.status, 200)
    t.match(await server.running.metrics(), /latchkey_tripwire_throttled 1/)
    const lines = await server.stopAndReadLog()
    t.match(
      lines.find(({ status }) => status === 429),
      { reason: 'TRIPWIRE', operation: 'Decrypt' },
    )
  },
)

void t.test(
  'kill writes a switch as an automatic operator, with a receipt; a restart does not repeat it',
  async (t) => {
    const { server, decrypt } = await serve(t, { mode: 'enforce', rules: [bulk('kill')] })
    const answers = await repeat(LIMIT + 2, () => decrypt(THIEF))
    t.same(answers.slice(0, LIMIT + 1), Array<string>(LIMIT + 1).fill(OK))
    t.not(answers.at(-1), OK, 'the process that found it refuses at once')
    await eventually(async () => (await eventsOf(server)).receipts.length === 1)
    const { switches, receipts } = await eventsOf(server)
    t.match(switches, [
      {
        operator: /^automatic: tripwire on /,
        reason: /^tripwire rule bulk: decrypts 6 in 3600 s, limit 5, principal /,
        direction: 'decrypt',
        scope: { kind: 'match', criteria: { principal: THIEF.replace('thief', '*') } },
      },
    ])
    t.equal(receipts[0]?.statement.id, switches[0]?.id)
    t.equal(await decrypt(HONEST), OK)

    const control = await openKillSwitch(server.config)
    const by = { reason: 'a false alarm', operator: 'alice', identity: 'os:alice' }
    await control.restore({ target: { id: switches[0]?.id ?? '' }, ...by })
    await control.close()
    await server.stop()
    await server.start()
    t.equal(await decrypt(THIEF), OK, 'restored, and what was reported is not reported again')
  },
)

void t.test('counts survive a restart, and a throttled caller is throttled again', async (t) => {
  const { server, decrypt } = await serve(t, { mode: 'enforce', rules: [bulk('throttle')] })
  await repeat(LIMIT, () => decrypt(THIEF))
  await server.stop()
  await server.start()
  t.same(await repeat(2, () => decrypt(THIEF)), [OK, THROTTLED])
  await eventually(async () =>
    (await eventsOf(server)).events.some(({ kind }) => kind === 'tripwire'),
  )
  await server.stop()
  await server.start()
  t.same(await repeat(2, () => decrypt(THIEF)), [OK, THROTTLED])
})
