/** Tests the key version ledger and a retirement on a real server. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openPolicies } from '../../src/app/policy.ts'
import { withRetirement } from '../../src/app/retirement.ts'
import { systemClock } from '../../src/core/clock.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { cancelRetirement, reportVersions } from '../../src/retirement/retirement.ts'
import { putRetirement } from '../../src/retirement/retirement-table.ts'
import { KILLED, KEY_ID, eventually, keyId, startTestServer } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'
import { call, decryptBody, encryptBody } from '../support/wire.ts'

t.setTimeout(120_000)

void t.test(
  'uses are recorded by version; a retired version refuses Decrypt until it is cancelled',
  async (t) => {
    const server = await startTestServer(t, { config: { activity: { flushInterval: '100ms' } } })
    const demo = keyStoreName('demo')
    const id = keyId(KEY_ID)
    const report = () =>
      withRetirement(server.config, demo, (deps) => reportVersions(deps, 'demo', id))
    const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
    await server.administration.keys(demo).rotateKey(id)
    const decrypt = async () => {
      const answer = await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(json))
      const { errorName = '' } = answer.json as { errorName?: string }
      return `${String(answer.status)} ${errorName}`.trim()
    }
    t.equal(await decrypt(), '200')
    await eventually(async () => (await report())[0]?.uses.length === 2)
    const caller = 'arn:aws:iam::123456789012:user/Alice'
    t.match(await report(), [
      {
        ...{ version: 1, state: 'PREVIOUS' },
        uses: [
          { kind: 'decrypt', caller, uses: 1 },
          { kind: 'encrypt', caller, uses: 1 },
        ],
        quiet: { ms: 0, doubt: undefined },
      },
      { version: 2, state: 'CURRENT', uses: [] },
    ])

    const name = { keyStore: 'demo', keyId: id, version: 1 }
    const alice = { operator: 'alice', identity: 'os:alice' }
    const bob = { operator: 'bob', identity: 'os:bob' }
    await withRetirement(server.config, demo, ({ store }) =>
      store.change((transaction) =>
        putRetirement(transaction, store.sealing, {
          ...{
            ...name,
            reason: 'r',
            requestedBy: alice,
            requestedAt: 1,
            quietForMs: 1,
            waitForMs: 1,
          },
          approval: { ...bob, at: 2 },
        }),
      ),
    )
    await eventually(async () => (await decrypt()) === '400 InvalidStateException')
    await eventually(
      async () => (await report())[0]?.uses.some(({ kind }) => kind === 'refused') === true,
    )
    await withRetirement(server.config, demo, (deps) =>
      cancelRetirement(deps, name, { ...alice, reason: 'still used' }),
    )
    await eventually(async () => (await decrypt()) === '200')
    await server.stop()
    const [first] = await report()
    t.equal(first?.quiet.doubt, undefined, 'a server that stopped leaves no doubt')
  },
)

void t.test('a Decrypt that a rule refuses is recorded as a use of its version', async (t) => {
  const rule = { name: 'bulk', limit: 2, window: '1h', action: 'throttle' }
  const server = await startTestServer(t, {
    config: {
      control: KILLED,
      activity: { flushInterval: '100ms' },
      tripwire: { mode: 'enforce', rules: [rule] },
    },
  })
  const demo = keyStoreName('demo')
  const id = keyId(KEY_ID)
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  let sent = 0
  const decryptUntil = (errorName: string) =>
    eventually(async () => {
      const answer = await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(json))
      sent += 1
      return (answer.json as { errorName?: string }).errorName === errorName
    })
  const decrypts = async () => {
    const [first] = await withRetirement(server.config, demo, (deps) =>
      reportVersions(deps, 'demo', id),
    )
    return first?.uses.find(({ kind }) => kind === 'decrypt')?.uses ?? 0
  }
  await decryptUntil('ThrottlingException')
  await eventually(async () => (await decrypts()) === sent)
  t.ok(sent > rule.limit, 'the last one was refused by the tripwire')

  await withRetirement(server.config, demo, ({ store }) =>
    kill(store, systemClock, {
      ...{ scope: { kind: 'match', criteria: { account: '123456789012' } }, direction: 'decrypt' },
      ...{ reason: 'r', operator: 'alice' },
    }),
  )
  await decryptUntil('AccessDeniedException')
  await eventually(async () => (await decrypts()) === sent)
})

void t.test('a Decrypt that a policy refuses is recorded, too', async (t) => {
  const server = await startTestServer(t, {
    config: { control: KILLED, activity: { flushInterval: '100ms' } },
  })
  const policies = await openPolicies(server.config)
  t.teardown(() => policies.close())
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const text = '@id("nobody") forbid(principal, action, resource);'
  const plan = await policies.plan({
    ...{ kind: 'put', documents: new Map([['main', text]]), mode: 'enforce' },
  })
  const by = { operator: 'alice', reason: 'a test' }
  await policies.apply(plan, { kind: 'put', ...by }, { wait: true, patienceMs: 20_000 })
  const answer = await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(json))
  t.match(answer.json, { errorName: 'AccessDeniedException' })
  await eventually(async () => {
    const [first] = await withRetirement(server.config, keyStoreName('demo'), (deps) =>
      reportVersions(deps, 'demo', keyId(KEY_ID)),
    )
    return first?.uses.some(({ kind, uses }) => kind === 'decrypt' && uses === 1) === true
  })
})
