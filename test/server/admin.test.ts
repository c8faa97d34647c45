/** Tests a real server's admin listener: who may call which operation, and how calls affect KMS. */
// SPDX-License-Identifier: Apache-2.0
import { PERMISSIONS } from '../../src/admin/principal.ts'
import { createHash } from 'node:crypto'
import t from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import type { Receipt } from '../../src/killswitch/receipt/receipt.ts'
import { type Signed, verifySigned } from '../../src/core/signature.ts'
import {
  ROLES,
  type Call,
  call,
  codeOf as code,
  pki,
  startWithAdmin as start,
  token,
} from '../support/admin.ts'
import { newAuthority } from '../support/pki.ts'
import { read, section, tableRows } from '../support/repository.ts'
import { KEY_ID } from '../support/server.ts'

const STOP = { scope: { kind: 'all' }, reason: 'test' }

/** Every call that requires authentication, with a plausible body. */
const CALLS = [
  ['GET', '/admin/v1/status', 'read'],
  [
    'POST',
    '/admin/v1/switches',
    'stop',
    { ...STOP, scope: { kind: 'key', keyStore: 'demo', keyId: 'x' } },
  ],
  ['POST', '/admin/v1/restorations', 'restore', { switch: 'abcdef', reason: 'test' }],
  ['POST', '/admin/v1/restorations/abcdef/approve', 'restore'],
  ['POST', '/admin/v1/restorations/abcdef/withdraw', 'stop', { reason: 'test' }],
  ['POST', '/admin/v1/deadman/demo', 'deadman', { action: 'renew', reason: 'test' }],
  ['GET', '/admin/v1/about', 'read'],
  ['GET', '/admin/v1/receipt-key', 'read'],
  ['GET', '/admin/v1/receipts', 'read'],
  ['GET', '/admin/v1/receipts/abcdef', 'read'],
  ['POST', '/admin/v1/drills', 'drill'],
  ['POST', '/admin/v1/rehearsals', 'read', { scope: { kind: 'all' } }],
  ['GET', '/admin/v1/exposure', 'read'],
  ['GET', '/admin/v1/audit/logs', 'audit'],
  ['GET', '/admin/v1/audit/entries?log=control', 'audit'],
  ['GET', '/admin/v1/audit/proof?log=control&index=0', 'audit'],
  ['GET', '/admin/v1/audit/logs/control/*', 'audit'],
  ['GET', '/admin/v1/keys/demo', 'read'],
  ['POST', '/admin/v1/keys/demo', 'keys', { keyId: 'one', canEncrypt: true, canDecrypt: true }],
  ['POST', '/admin/v1/keys/demo/one', 'keys', { action: 'rotate' }],
  ['GET', '/admin/v1/credentials', 'read'],
  ['POST', '/admin/v1/credentials', 'credentials', { keyStore: 'demo' }],
  ['POST', `/admin/v1/credentials/${'A'.repeat(20)}`, 'credentials', { action: 'revoke' }],
  ['GET', '/admin/v1/policies', 'read'],
  ['GET', '/admin/v1/policies/history', 'read'],
  ['GET', '/admin/v1/policies/revisions/1', 'read'],
  ['POST', '/admin/v1/policies', 'policy', { kind: 'promote', dryRun: true }],
  ['GET', '/admin/v1/usage?since=1', 'read'],
  ['GET', '/admin/v1/operators', 'read'],
  ['POST', '/admin/v1/operators', 'operators', { name: 'x', kind: 'person', role: 'viewer' }],
  ['POST', '/admin/v1/operators/alice/remove', 'operators'],
  ['GET', '/admin/v1/tokens', 'read'],
  ['POST', '/admin/v1/tokens', 'operators', { operator: 'alice' }],
  ['POST', '/admin/v1/tokens/abcdef/revoke', 'operators'],
] as const

void t.test('every call requires authentication and the documented permission', async (t) => {
  const server = await start(t)
  const table = tableRows(section(read('docs/admin.md'), '## What can be called'))
  const documented = table.map(([line = '', needs = '']) => ({
    line: line.replaceAll('`', ''),
    needs: needs.replaceAll('`', ''),
  }))
  for (const [method, path, permission, body] of CALLS) {
    const name = `${method} ${path}`
    const row = documented.find(({ line }) =>
      new RegExp(`^${line.replaceAll('*', '\\*').replace(/:[a-zA-Z]+/g, '[A-Za-z0-9]+')}$`).test(
        name.replace(/\?.*/, ''),
      ),
    )
    t.equal(row?.needs, permission, `${name} in docs/admin.md`)
    const nobody = await call(server, method, path, { body })
    t.equal(nobody.status, 401, `${name} by nobody`)
    t.equal(code(nobody), 'UNAUTHENTICATED')
    t.equal(nobody.headers['www-authenticate'], 'Bearer')
    for (const wrong of ['', 'x', `${token('admin')}x`, token('admin').toUpperCase()])
      t.equal((await call(server, method, path, { body, token: wrong })).status, 401)
    for (const role of ROLES) {
      const reply = await call(server, method, path, { body, token: token(role) })
      const may = PERMISSIONS[role].includes(permission)
      t.equal(reply.status === 403, !may, `${name} by ${role}: ${String(reply.status)}`)
      t.ok(reply.status < 500, 'no fault of ours')
    }
  }
})

void t.test('docs/admin.md lists the actual roles', (t) => {
  const [, ...rows] = tableRows(section(read('docs/admin.md'), '## Who may call'))
  const documented = Object.fromEntries(
    rows.map(([role = '', may = '']) => [
      role.replaceAll('`', ''),
      may.replaceAll('`', '').split(', '),
    ]),
  )
  t.same(documented, PERMISSIONS)
  t.end()
})

void t.test('a certificate counts by its chain and its whole common name', async (t) => {
  const server = await start(t)
  const other = await newAuthority('Another CA')
  const status = async (name: string, commonName: string, by?: typeof other) => {
    const certificate = await pki.issue(name, { commonName, usage: 'client' }, by)
    return (await call(server, 'GET', '/admin/v1/status', { certificate })).status
  }
  t.equal(await status('alice', 'alice'), 200)
  t.equal(await status('bob', 'bob'), 200)
  t.equal(await status('carol', 'carol'), 401, 'not listed')
  t.equal(await status('alice2', 'alice2'), 401, 'longer than a listed one')
  t.equal(await status('forged', 'alice', other), 401, 'of another authority')
  const bob = await pki.issue('bob-again', { commonName: 'bob', usage: 'client' })
  const stop = await call(server, 'POST', '/admin/v1/switches', { certificate: bob, body: STOP })
  t.equal(stop.status, 403, 'a viewer')
  const both = { certificate: bob, token: 'wrong', body: STOP }
  t.equal(
    (await call(server, 'POST', '/admin/v1/switches', both)).status,
    401,
    'a wrong token is no help',
  )
})

void t.test('stop, receipt, restore: the responses to KMS at each step', async (t) => {
  const server = await start(t)
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const scope = { kind: 'key-store', keyStore: 'demo' }
  const stopped = await call(server, 'POST', '/admin/v1/switches', {
    token: token('operator'),
    body: { scope, reason: 'contract ended' },
  })
  t.equal(stopped.status, 200)
  t.match(stopped.body, { state: 'revoked', isNew: true, switch: { operator: 'operator-token' } })
  t.equal(await encrypt(), 400, 'at once')

  const receipt = stopped.body['receipt'] as Signed<Receipt>
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  t.ok(verifySigned(receipt, await control.publicKey()))
  t.match(receipt.statement, {
    scope,
    reason: 'contract ended',
    operator: 'operator-token',
    instances: [{ how: 'acknowledged', pid: process.pid }],
  })
  t.ok(receipt.statement.lastSuccessAt !== null, 'the encryption before it')
  const kept = await call(server, 'GET', `/admin/v1/receipts/${receipt.statement.id}`, {
    token: token('viewer'),
  })
  t.same(kept.body, JSON.parse(JSON.stringify(receipt)))

  const status = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.match(status.body, { switches: [{ scope }], instances: [{ hasAcknowledged: true }] })
  const restored = await call(server, 'POST', '/admin/v1/restorations', {
    token: token('admin'),
    body: { scope, reason: 'renewed' },
  })
  t.match(restored, { status: 200, body: { state: 'restored' } })
  const again = await call(server, 'POST', '/admin/v1/restorations', {
    token: token('admin'),
    body: { scope, reason: 'renewed' },
  })
  t.equal(code(again), 'NOT_FOUND')
  await client.close()
})

void t.test('restoring requires a second person if so configured', async (t) => {
  const server = await start(t, { control: { restore: { people: 2 } } })
  const alice = await pki.issue('alice-two', { commonName: 'alice', usage: 'client' })
  await call(server, 'POST', '/admin/v1/switches', { token: token('operator'), body: STOP })
  const asked = await call(server, 'POST', '/admin/v1/restorations', {
    certificate: alice,
    body: { scope: { kind: 'all' }, reason: 'over' },
  })
  t.match(asked.body, { state: 'requested', needsApproval: true })
  const { id } = asked.body['request'] as { id: string }
  const approve = `/admin/v1/restorations/${id}/approve`
  t.equal(code(await call(server, 'POST', approve, { certificate: alice })), 'CONFLICT', 'the same')
  t.equal((await call(server, 'POST', approve, { token: token('operator') })).status, 403)
  t.match((await call(server, 'POST', approve, { token: token('admin') })).body, {
    state: 'restored',
  })
})

void t.test('a drill measures, and leaves nothing behind', async (t) => {
  const server = await start(t, { control: { restore: { people: 2, delay: '1h' } } })
  const drill = await call(server, 'POST', '/admin/v1/drills', { token: token('operator') })
  t.match(drill, {
    status: 200,
    body: { keyStore: 'demo', keyId: 'latchkey-drill', instances: [{ how: 'acknowledged' }] },
  })
  const status = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.same(status.body['switches'], [])
})

void t.test('bodies must match openapi.yaml, and scopes the configuration', async (t) => {
  const server = await start(t)
  const post = async (body: unknown) =>
    call(server, 'POST', '/admin/v1/switches', { token: token('operator'), body })
  for (const body of [
    undefined,
    {},
    { scope: { kind: 'all' } },
    { scope: { kind: 'all' }, reason: '' },
    { scope: { kind: 'all', keyStore: 'demo' }, reason: 'x' },
    { scope: { kind: 'key-store' }, reason: 'x' },
    { scope: { kind: 'key-store', keyStore: 'typo' }, reason: 'x' },
    { scope: { kind: 'key', keyStore: 'demo' }, reason: 'x' },
    { scope: { kind: 'match', criteria: {} }, reason: 'x' },
    { scope: { kind: 'match', criteria: { account: '12' } }, reason: 'x' },
    { scope: { kind: 'all' }, reason: 'x', direction: 'sideways' },
    { scope: { kind: 'all' }, reason: 'x', until: 1 },
    { scope: { kind: 'all' }, reason: 'x', operator: 'somebody else' },
    { scope: { kind: 'all' }, reason: 'x'.repeat(20_000) },
  ]) {
    const reply = await post(body)
    t.equal(code(reply), 'INPUT_INVALID', JSON.stringify(body ?? null).slice(0, 80))
    t.equal(reply.status, 400)
  }
  const status = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.same(status.body['switches'], [], 'none of them did anything')
  t.equal(
    code(await call(server, 'GET', '/admin/v1/nothing', { token: token('admin') })),
    'NOT_FOUND',
  )
})

void t.test(
  'probes need no authentication and reveal nothing; the log names the caller but no token',
  async (t) => {
    const server = await start(t)
    t.match(await call(server, 'GET', '/livez'), { status: 200, body: { status: 'ok' } })
    t.match(await call(server, 'GET', '/readyz'), { status: 200, body: { status: 'ok' } })
    await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
    await call(server, 'GET', '/admin/v1/status', { token: token('wrong') })
    const log = await server.stopAndReadLog()
    const lines = log.filter(({ msg }) => msg === 'admin request')
    t.match(lines, [
      { name: 'viewer-token', role: 'viewer', route: '/admin/v1/status', status: 200 },
      { route: '/admin/v1/status', status: 401, code: 'UNAUTHENTICATED' },
    ])
    t.notMatch(JSON.stringify(log), /latchkey_token_of/)
  },
)

void t.test('one person with several tokens and a certificate is one person', async (t) => {
  const holders = ['operator', 'viewer', 'admin'].map((role) => ({
    ...{ name: `laptop-${role}`, role: 'admin' },
    sha256: createHash('sha256').update(token(role)).digest('hex'),
    ...(role === 'admin' ? {} : { person: 'carol' }),
  }))
  const subjects = [
    { commonName: 'alice', role: 'admin', person: 'carol' },
    { commonName: 'bob', role: 'admin' },
  ]
  const clientCertificates = { ca: pki.caFile, subjects }
  const config = { control: { restore: { people: 2 } } }
  const server = await start(t, config, { tokens: holders, clientCertificates })
  const scope = { kind: 'all' }
  const first = { token: token('operator') }
  const order = { ...first, body: { scope, reason: 'test' } }
  t.equal((await call(server, 'POST', '/admin/v1/switches', order)).status, 200)
  const asked = await call(server, 'POST', '/admin/v1/restorations', order)
  t.equal(asked.status, 200, JSON.stringify(asked.body))
  const { id = '' } = asked.body['request'] as Record<string, string>
  const approve = (by: Call) => call(server, 'POST', `/admin/v1/restorations/${id}/approve`, by)
  const certificateOf = (commonName: string) =>
    pki.issue(`admin-${commonName}`, { commonName, usage: 'client' })
  for (const by of [
    first,
    { token: token('viewer') },
    { certificate: await certificateOf('alice') },
  ]) {
    t.equal(code(await approve(by)), 'CONFLICT')
  }
  t.equal((await approve({ certificate: await certificateOf('bob') })).status, 200)
})
