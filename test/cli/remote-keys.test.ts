/** Tests the key, credential and policy commands, both through an admin listener and on the store directly. */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { toCheckValue } from '../../src/core/check-value.ts'
import { call, pki, sha256, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder, type Ended } from '../support/cli.ts'
import { KEY_ID, eventually } from '../support/server.ts'

t.setTimeout(180_000)

const WHY = ['--reason', 'a test', '--yes'] as const

async function start(t: Test, config: Record<string, unknown> = {}, admin = {}) {
  const server = await startWithAdmin(t, config, admin)
  const folder = await temporaryFolder(t)
  const base = {
    LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
    LATCHKEY_CACERT: pki.caFile,
    HOME: folder,
  }
  const as =
    (role: string) =>
    (...words: string[]) =>
      latchkeyHere(words, { ...base, LATCHKEY_TOKEN: token(role) })
  const local = (...words: string[]) =>
    latchkeyHere([...words, '--config', server.configFile], { HOME: folder })
  return { server, folder, as, local }
}

const json = ({ stdout }: Ended) => JSON.parse(stdout) as Record<string, unknown>

void t.test('a custodian manages keys and credentials without the master key', async (t) => {
  const { server, folder, as } = await start(t)
  const custodian = as('custodian')
  const client = server.client()
  const encrypt = async (keyId: string) =>
    (await client.encrypt(keyId, { plaintext: Buffer.alloc(32) })).status

  const created = await custodian('keys', 'create', 'payroll')
  t.equal(created.stdout, 'created payroll: ENABLED, encrypt,decrypt, version 1\n', created.stderr)
  const material = join(folder, 'old.key')
  await writeFile(material, Buffer.alloc(32, 7), { mode: 0o600 })
  const minutes = join(folder, 'minutes.txt')
  await writeFile(minutes, 'minutes')
  const ceremony = ['--ceremony', minutes, '--witness', 'Ada', '--witness', 'Jo']
  const imported = await custodian('keys', 'import', 'old', '--from-file', material, ...ceremony)
  t.equal(imported.code, 0, imported.stderr)
  const events = await as('operator')('events', '--json')
  const importing = (JSON.parse(events.stdout) as { detail: Record<string, unknown> }[]).find(
    ({ detail }) => detail['keyId'] === 'old',
  )
  const checkValue = toCheckValue(Buffer.alloc(32, 7))
  t.match(importing?.detail, { checkValue, ceremony: { bytes: 7, witnesses: ['Ada', 'Jo'] } })
  t.match((await custodian('keys', 'rotate', 'payroll')).stdout, 'rotated payroll: ENABLED')
  t.match((await custodian('keys', 'list')).stdout, /^payroll +ENABLED .* 1:PREVIOUS 2:CURRENT/m)
  t.equal((await custodian('keys', 'destroy-version', 'payroll', '1', '--yes')).code, 0)
  t.equal((await custodian('keys', 'disable', KEY_ID, '--yes')).code, 0)
  await eventually(async () => (await encrypt(KEY_ID)) === 400)
  t.equal((await custodian('keys', 'enable', KEY_ID, '--yes')).code, 0)
  await eventually(async () => (await encrypt(KEY_ID)) === 200)

  const planned = await custodian('keys', 'create', 'next', '--activate-at', '2099-01-01')
  t.match(planned.stdout, 'created next: PRE_ACTIVE, encrypt,decrypt, version 1', planned.stderr)
  const until = ['--deactivate-at', '2099-06-01']
  t.match((await custodian('keys', 'dates', 'next', ...until)).stdout, /^would change the dates of/)
  t.match(
    (await custodian('keys', 'dates', 'next')).stdout,
    /T00.*, deactivation none \(PRE_ACTIVE/,
  )
  t.equal((await custodian('keys', 'dates', 'next', ...until, '--yes')).code, 0)
  const listed = await custodian('keys', 'list', '--wide')
  t.match(listed.stdout, /next +PRE_ACTIVE .* 2099-01-01T\S+ +2099-06-01T/)
  const removal = ['--activate-at', 'none', '--deactivate-at', 'none', '--yes']
  const removed = await custodian('keys', 'dates', 'next', ...removal)
  t.equal(removed.stdout, 'next: activation none, deactivation none\n', removed.stderr)
  const wrong = ['--activate-at', '2099-01-02', '--deactivate-at', '2099-01-01', '--yes']
  t.match(await custodian('keys', 'dates', 'next', ...wrong), {
    ...{ code: 1, stderr: /expected a deactivation date later than the activation date/ },
  })

  t.match(await custodian('keys', 'trust', KEY_ID, '--reason', 'x', '--yes'), {
    code: 64,
    stderr: /not on a token/,
  })

  const file = join(folder, 'kms.json')
  const made = await custodian('credentials', 'create', '--output', file, '--expires', '1d')
  t.match(made.stdout, /^created [A-Z2-7]{26};/, made.stderr)
  const { XksProxyUriPath, XksProxyAuthenticationCredential: pair } = JSON.parse(
    await readFile(file, 'utf8'),
  ) as Record<string, Record<string, string>>
  t.equal(XksProxyUriPath, '/demo/kms/xks/v1')
  const id = pair?.['AccessKeyId'] ?? ''
  t.match((await custodian('credentials', 'list')).stdout, new RegExp(`^${id} +demo +ACTIVE`, 'm'))
  t.match((await custodian('credentials', 'expire', id)).stdout, `${id} expires at`)
  t.match((await custodian('credentials', 'revoke', id, '--yes')).stdout, `revoked ${id}`)

  const killed = await custodian('kill', '--all', '--reason', 'x')
  t.match(killed, { code: 1, stderr: /the role custodian does not allow this/ })
  for (const role of ['viewer', 'operator']) {
    const refused = await as(role)('keys', 'disable', KEY_ID, '--yes')
    t.match(refused, { code: 1, stderr: new RegExp(`the role ${role} does not allow this`) })
    t.equal((await as(role)('keys', 'list')).code, 0, `${role} reads`)
  }
})

void t.test('a custodian changes policies after testing them on recorded usage', async (t) => {
  const { server, folder, as } = await start(t, { activity: { flushInterval: '100ms' } })
  const custodian = as('custodian')
  await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  const path = join(folder, 'main.cedar')
  await writeFile(path, '@id("all") permit(principal, action, resource);\n')
  const planned = await custodian('policy', 'put', path, '--reason', 'a test')
  t.match(planned.stdout, /^would put main\n.*\nAdd --yes to do it/, planned.stderr)
  t.match((await custodian('policy', 'list')).stdout, /^no policies/)
  const put = await custodian('policy', 'put', path, ...WHY)
  t.match(
    put.stdout,
    /^in force after \d+ ms on 1 of 1 instances: revision 1, epoch \d+: put main\n/,
  )
  await writeFile(path, '@id("none") forbid(principal, action, resource);\n')
  t.equal((await custodian('policy', 'put', path, '--shadow', ...WHY)).code, 0)
  t.equal((await custodian('policy', 'promote', ...WHY)).code, 0)
  const refused = await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  t.equal(refused.status, 403)
  t.equal((await custodian('policy', 'rollback', '1', ...WHY, '--no-wait')).code, 0)
  t.equal((await as('operator')('policy', 'discard', ...WHY)).code, 1)
  const labels = join(folder, 'labels.yaml')
  await writeFile(labels, `demo/${KEY_ID}: { groups: [gold], tags: { owner: finance } }\n`)
  t.equal((await custodian('policy', 'put', labels, ...WHY)).code, 0)
  const labelled = await as('viewer')('keys', 'list', '--group', 'gold', '--json')
  const found = JSON.parse(labelled.stdout) as unknown
  t.match(found, [{ keyId: KEY_ID, groups: ['gold'], tags: { owner: 'finance' } }])
  await writeFile(path, 'permit(')
  const faulty = { kind: 'put', documents: { main: 'permit(' }, reason: 'x' }
  const answer = await call(server, 'POST', '/admin/v1/policies', {
    ...{ token: token('admin'), body: faulty },
  })
  t.match(answer, { status: 400, body: { error: { reason: 'POLICY_INVALID', faults: [{}] } } })
})

void t.test('dates outside the years 1970 to 9999 are refused', async (t) => {
  const { server, as } = await start(t)
  const reason = 'a test'
  for (const at of [-1, 253_402_300_800_000, 9e15]) {
    const calls: readonly (readonly [string, object])[] = [
      [`keys/demo/${KEY_ID}`, { action: 'set-dates', activateAt: at }],
      [`keys/demo/${KEY_ID}`, { action: 'set-dates', deactivateAt: at }],
      ['keys/demo', { keyId: 'new', canEncrypt: true, canDecrypt: true, activateAt: at }],
      ['keys/demo', { keyId: 'new', canEncrypt: true, canDecrypt: true, deactivateAt: at }],
      ['credentials', { keyStore: 'demo', expiresAt: at }],
      [`credentials/${'A'.repeat(20)}`, { action: 'expire', at }],
      ['tokens', { operator: 'alice', expiresAt: at }],
      ['switches', { scope: { kind: 'all' }, reason, until: at }],
    ]
    for (const [path, body] of calls) {
      const about = { token: token('admin'), body }
      t.match(
        await call(server, 'POST', `/admin/v1/${path}`, about),
        { status: 400, body: { error: { code: 'INPUT_INVALID', message: /[<>]= / } } },
        path,
      )
    }
  }
  t.equal((await as('admin')('keys', 'list')).code, 0)
})

void t.test('output and exit codes are the same as for the command on the store', async (t) => {
  const { server, folder, as, local } = await start(t, { activity: { flushInterval: '100ms' } })
  await mkdir(join(folder, 'policies'))
  const policy = join(folder, 'policies', 'main.cedar')
  await writeFile(policy, '@id("all") permit(principal, action, resource);\n')
  t.equal((await local('policy', 'put', policy, ...WHY)).code, 0)
  await local('keys', 'create', 'taken')
  await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  // The usage count must not change between the two calls.
  const list = () => local('credentials', 'list', '--json')
  await eventually(async () => (await list()).stdout.includes('"uses":1'))
  for (const words of [
    ['keys', 'list'],
    ['keys', 'list', '--json'],
    ['keys', 'list', '--key-store', 'typo'],
    ['keys', 'create', 'taken'],
    ['keys', 'create', 'not/a/key'],
    ['keys', 'rotate', 'unknown'],
    ['keys', 'destroy-version', 'taken', '1', '--yes'],
    ['keys', 'destroy-version', 'taken', '9', '--yes'],
    ['credentials', 'list', '--json'],
    ['credentials', 'list', '--key-store', 'typo'],
    ['credentials', 'revoke', 'A'.repeat(20), '--yes'],
    ['credentials', 'expire', 'A'.repeat(20)],
    ['policy', 'list'],
    ['policy', 'list', '--json'],
    ['policy', 'get', 'main'],
    ['policy', 'get', 'typo'],
    ['policy', 'get', 'main', '--revision', '9'],
    ['policy', 'history', '--json'],
    ['policy', 'put', policy, ...WHY],
    ['policy', 'delete', 'typo', ...WHY],
    ['policy', 'promote', ...WHY],
    ['policy', 'rollback', '9', ...WHY],
  ]) {
    const [here, there] = await Promise.all([local(...words), as('admin')(...words)])
    const name = words.join(' ')
    t.equal(there.code, here.code, `${name}: ${there.stderr}`)
    t.equal(there.stdout, here.stdout, name)
    t.equal(there.stderr, here.stderr, name)
  }
  t.match(json(await as('viewer')('policy', 'simulate', '--since', '1h', '--json')), {
    wouldBeRefused: 0,
  })
})

void t.test('a role for one key store gives no access to others', async (t) => {
  const keyStores = [
    { name: 'demo', prefix: '/demo' },
    { name: 'other', prefix: '/other' },
  ]
  const limited = (role: string) => ({
    ...{ name: `${role}-of-demo`, role, keyStores: ['demo'] },
    sha256: sha256(token(`${role}-of-demo`)),
  })
  const all = { name: 'root', role: 'admin', sha256: sha256(token('admin')) }
  const tokens = [all, ...['viewer', 'operator', 'custodian', 'admin'].map(limited)]
  const { as, local } = await start(t, { keyStores }, { tokens })
  const admin = as('admin-of-demo')
  const reason = ['--reason', 'x']
  const refused = async (...words: string[]) => {
    const { code, stderr } = await admin(...words)
    t.equal(code, 1, words.join(' '))
    t.match(stderr, /does not allow this for/, words.join(' '))
  }
  t.equal((await local('keys', 'create', 'k', '--key-store', 'other')).code, 0)
  t.equal((await local('credentials', 'create', '--key-store', 'other')).code, 0)
  const [id = ''] = (
    json(await local('credentials', 'list', '--json')) as unknown as Cred[]
  ).flatMap(({ accessKeyId, keyStore }) => (keyStore === 'other' ? [accessKeyId] : []))
  t.equal((await local('kill', '--key-store', 'other', ...reason)).code, 0)
  t.match((await as('viewer-of-demo')('status')).stdout, /^no switch is in force/)
  t.match((await admin('keys', 'list', '--json')).code, 0, 'the only key store that it sees')
  const eventsOf = async (role: string) => {
    const { stdout } = await as(role)('events', '--limit', '50', '--json')
    return (JSON.parse(stdout) as { kind: string; detail: Record<string, unknown> }[]).map(
      ({ kind, detail }) => `${kind} ${String(detail['keyStore'] ?? detail['scope'])}`,
    )
  }
  t.equal((await local('keys', 'create', 'mine-too', '--key-store', 'demo')).code, 0)
  const all50 = await eventsOf('admin')
  t.ok(all50.includes('key-created other') && all50.includes('kill key store other'))
  t.same(
    await eventsOf('viewer-of-demo'),
    all50.filter((one) => /demo|all$/.test(one)),
    'it sees the events of its key stores',
  )
  t.ok((await eventsOf('viewer-of-demo')).includes('key-created demo'))
  await refused('kill', '--all', ...reason)
  await refused('kill', '--account', '111122223333', ...reason)
  await refused('credentials', 'revoke', id, '--yes')
  await refused('policy', 'list')
  await refused('exposure')
  t.equal((await admin('keys', 'list', '--key-store', 'other')).code, 64, 'it is not listed')
  t.notMatch((await admin('credentials', 'list')).stdout, id)
  const seen = json(await as('admin')('status', '--json')) as { switches: { id: string }[] }
  await refused('restore', '--switch', seen.switches[0]?.id ?? '', ...reason, '--yes')
  t.equal((await admin('kill', '--key-store', 'demo', ...reason)).code, 0)
  t.equal((await admin('restore', '--key-store', 'demo', ...reason, '--yes')).code, 0)
  t.equal((await admin('drill')).code, 0, 'the first key store')
  t.equal((await as('custodian-of-demo')('keys', 'create', 'mine')).code, 0)
})

interface Cred {
  readonly accessKeyId: string
  readonly keyStore: string
}
