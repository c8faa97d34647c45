/**
 * Tests policies on a real server: which requests are refused, what KMS receives, what is logged and counted, and when
 * a change takes effect.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openPolicies } from '../../src/app/policy.ts'
import type { PolicyChange } from '../../src/policy/policy-table.ts'
import { KILLED, KEY_ID, type TestServer, eventually, startTestServer } from '../support/server.ts'
import { encryptBody, requestMetadata } from '../support/wire.ts'

t.setTimeout(180_000)

const BY = { operator: 'tester', reason: 'a test' }
const HEALTH = { requestMetadata: { kmsRequestId: 'r', kmsOperation: 'KmsHealthCheck' } }
const LOOK = { requestMetadata: requestMetadata('DescribeKey') }
/** The principal that requestMetadata() uses. */
const PRINCIPAL = requestMetadata('Encrypt')['awsPrincipalArn'] as string
const OTHER = PRINCIPAL.replace(/[^/]+$/, 'somebody-else')
const only = (principal: string) =>
  `@id("only-one") permit(principal == XKS::Principal::"${principal}", action, resource);`

async function serve(t: Test, config = {}) {
  const server = await startTestServer(t, { config: { control: KILLED, ...config } })
  const policies = await openPolicies(server.config)
  t.teardown(() => policies.close())
  const change = async (order: PolicyChange) => {
    const plan = await policies.plan(order)
    const options = { wait: true, patienceMs: 20_000 }
    const { revocation } = await policies.apply(plan, { kind: order.kind, ...BY }, options)
    return revocation
  }
  const put = (text: string, mode: 'enforce' | 'shadow' = 'enforce') =>
    change({ kind: 'put', documents: new Map([['main', text]]), mode })
  return { server, policies, change, put, ask: asker(server) }
}

/** Returns a function that calls Encrypt, GetKeyMetadata and GetHealthStatus, and returns each status and errorName. */
function asker(server: TestServer) {
  const client = server.client()
  return async () => {
    const paths = [`/keys/${KEY_ID}/encrypt`, `/keys/${KEY_ID}/metadata`, '/health']
    const bodies = [encryptBody(), LOOK, HEALTH]
    const answers = await Promise.all(
      paths.map((path, i) => client.post(path, JSON.stringify(bodies[i]))),
    )
    return answers.map(({ status, body }) => {
      const { errorName = '', errorMessage = '' } = body as Record<string, string>
      if (errorName === 'AccessDeniedException')
        t.equal(errorMessage, 'The operation is not authorized for this request metadata.')
      return `${String(status)} ${errorName}`.trim()
    })
  }
}

const OPEN = ['200', '200', '200']
const DENIED = ['403 AccessDeniedException', '403 AccessDeniedException', '200']

void t.test(
  '[AUTHZ-1] [AUTHZ-2] a put is in force once it returns; KMS gets a fixed message, and the log names the policy',
  async (t) => {
    const { server, put, change, ask } = await serve(t)
    t.same(await ask(), OPEN, 'without a policy everything is allowed')
    const revocation = await put(only(OTHER))
    t.match(revocation?.instances, [{ how: 'acknowledged' }])
    t.same(await ask(), DENIED, 'with one, what none permits is denied; health is not asked about')
    await put(only(PRINCIPAL))
    t.same(await ask(), OPEN)
    await put(
      `${only(PRINCIPAL)} @id("no-new-data") forbid(principal, action == XKS::Action::"Encrypt", resource);`,
    )
    t.same(await ask(), ['403 AccessDeniedException', '200', '200'])
    await change({ kind: 'rollback', revision: 1 })
    t.same(await ask(), DENIED)
    await change({ kind: 'delete', name: 'main', mode: 'enforce' })
    t.same(await ask(), OPEN)
    const metrics = await server.running.metrics()
    t.match(metrics, /latchkey_policy_decisions_total\{set="enforced",decision="deny"\} 5/)
    t.match(metrics, /latchkey_policy_decisions_total\{set="enforced",decision="allow"\} 3/)
    t.match(metrics, /latchkey_policy_revision 5/)
    t.match(
      metrics,
      /latchkey_stage_duration_seconds_count\{[^}]*operation="Encrypt",stage="policy"\} 6/,
    )

    const lines = (await server.stopAndReadLog()).filter(
      ({ msg, operation }) => msg === 'request' && operation === 'Encrypt',
    )
    t.match(lines, [
      { accessClass: String, policies: undefined },
      {
        errorName: 'AccessDeniedException',
        reason: 'POLICY_DEFAULT',
        policies: [],
        policyRevision: 1,
      },
      { status: 200, policies: ['only-one'], policyRevision: 2 },
      { reason: 'POLICY_FORBID', policies: ['no-new-data'], policyRevision: 3 },
      { reason: 'POLICY_DEFAULT', policyRevision: 4 },
      { status: 200, policies: undefined },
    ])
    t.ok(lines.every(({ stagesMs }) => Number((stagesMs as Record<string, number>)['policy']) >= 0))
  },
)

void t.test(
  'in shadow mode, nothing is refused; the log and metrics show what would have been',
  async (t) => {
    const { server, put, change, ask } = await serve(t)
    await put(only(OTHER), 'shadow')
    t.same(await ask(), OPEN)
    await change({ kind: 'promote' })
    t.same(await ask(), DENIED)
    t.match(
      await server.running.metrics(),
      /latchkey_policy_decisions_total\{set="shadow",decision="deny"\} 2/,
    )
    const lines = (await server.stopAndReadLog()).filter(
      ({ msg, operation }) => msg === 'request' && operation === 'Encrypt',
    )
    t.match(lines, [
      { status: 200, shadowDenial: { reason: 'POLICY_DEFAULT', policies: [] } },
      { status: 403, shadowDenial: undefined },
    ])
  },
)

void t.test(
  'an unreadable store denies once the lease ends, even if a policy permits',
  async (t) => {
    const { server, put, ask } = await serve(t, { control: { lease: '2s' } })
    await put(only(PRINCIPAL))
    t.same(await ask(), OPEN)
    const { path = '' } = server.config.store
    await rename(path, `${path}.away`)
    // The server may close connections when its lease ends, so retry failed requests.
    const refused = async () =>
      (await ask().catch(() => [''])).every((line) => line === '400 InvalidStateException')
    await eventually(refused)
    await rename(`${path}.away`, path)
    await eventually(async () => (await ask().catch(() => [''])).every((line) => line === '200'))
  },
)

void t.test(
  'policies that this release cannot compile deny everything, with a warning',
  async (t) => {
    const { server, put, ask } = await serve(t)
    await put('permit(principal, action, resource) when { !!! };')
    t.same(await ask(), DENIED)
    await put(only(PRINCIPAL))
    t.same(await ask(), OPEN)
    const log = await server.stopAndReadLog()
    t.match(
      log.find(({ reason }) => reason === 'POLICY_UNUSABLE'),
      { errorName: 'AccessDeniedException' },
    )
    t.ok(
      log.some(
        ({ msg }) => msg === "cannot use the store's policies; denying every request for a key",
      ),
    )
  },
)

void t.test(
  'a policy folder is loaded at startup and on changes, and rejected as a whole',
  async (t) => {
    const server = await startTestServer(t, {
      config: { policy: { folder: 'policies' } },
      stopped: true,
    })
    const file = (name: string) => join(server.folder, 'policies', name)
    await mkdir(file(''))
    await writeFile(file('main.cedar'), 'permit(principal, action, resource) when { nonsense };')
    await t.rejects(
      server.start(),
      { code: 'POLICY_INVALID' },
      'nothing starts with policies that are not valid',
    )
    await writeFile(file('main.cedar'), only(OTHER))
    await writeFile(file('extra.shadow.cedar'), 'forbid(principal, action, resource);')
    await server.start()
    const ask = asker(server)
    t.same(await ask(), DENIED)
    const policies = await openPolicies(server.config)
    t.teardown(() => policies.close())
    await t.rejects(policies.plan({ kind: 'promote' }), { code: 'POLICY_IN_FILES' })
    const { enforced, shadow } = await policies.state()
    t.same([[...enforced.keys()], [...(shadow?.keys() ?? [])]], [['main'], ['extra', 'main']])

    await writeFile(file('main.cedar'), only(PRINCIPAL))
    await eventually(async () => (await ask()).every((line) => line === '200'))
    await writeFile(file('main.cedar'), `${only(OTHER)} and then some`)
    const refused = 'policies rejected; keeping the previous ones'
    await eventually(async () => (await readFile(server.logFile, 'utf8')).includes(refused))
    t.same(await ask(), OPEN)
  },
)
