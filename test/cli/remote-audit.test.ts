/** Runs the commands that read audit logs both through an admin listener and on the files of its host. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { call, codeOf, pki, sha256, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { KEY_ID, eventually } from '../support/server.ts'
import { encryptBody, requestMetadata } from '../support/wire.ts'

t.setTimeout(300_000)

const ROUNDS = 4
const LOGS = '/admin/v1/audit/logs'
const limited = {
  ...{ name: 'auditor-of-demo', role: 'auditor', keyStores: ['demo'] },
  sha256: sha256(token('auditor-of-demo')),
}
const KEY_STORES = [
  { name: 'demo', prefix: '/demo' },
  { name: 'other', prefix: '/other' },
]

void t.test('search, tail, prove and export give the same anywhere', async (t) => {
  const audit = { mode: 'buffered', checkpointInterval: '100ms', principals: 'hashed' }
  const all = ['auditor', 'viewer'].map((role) => ({
    ...{ name: role, role },
    sha256: sha256(token(role)),
  }))
  const server = await startWithAdmin(
    t,
    { audit, keyStores: KEY_STORES },
    { tokens: [...all, limited] },
  )
  const client = server.client()
  const encrypt = async (id: string, keyId = KEY_ID) =>
    client.post(
      `/keys/${keyId}/encrypt`,
      JSON.stringify({
        ...encryptBody(),
        requestMetadata: requestMetadata('Encrypt', { kmsRequestId: id }),
      }),
    )
  for (let i = 0; i < ROUNDS; i++) await encrypt(`one-${String(i)}`)
  await encrypt('twice')
  await encrypt('twice', 'missing')
  const base = {
    LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
    LATCHKEY_CACERT: pki.caFile,
    HOME: await temporaryFolder(t),
  }
  const as = (role: string, ...words: readonly string[]) =>
    latchkeyHere(['audit', ...words], { ...base, LATCHKEY_TOKEN: token(role) })
  const local = (...words: readonly string[]) =>
    latchkeyHere(['audit', ...words, '--config', server.configFile], { HOME: base.HOME })
  const entries = async (...words: readonly string[]) => {
    const { code, stdout, stderr } = await as('auditor', ...words, '--json')
    t.equal(code, 0, stderr)
    return JSON.parse(stdout) as Record<string, unknown>[]
  }
  await eventually(async () => (await entries('search')).length === ROUNDS + 2)

  await t.test('output and exit codes', async (t) => {
    for (const words of [
      ['search'],
      ['search', '--json', '--limit', '3'],
      ['search', '--outcome', 'refused', '--json'],
      ['search', '--principal', 'arn:aws:iam::123456789012:user/Alice', '--since', '1h'],
      ['search', '--principal', 'arn:*', '--json'],
      ['search', '--key-store', 'typo', '--until', '2001-01-01', '--json'],
      ['tail', '--count', '2'],
      ['tail', '--json', '--operation', 'Encrypt'],
      ['prove', 'one-2', '--json'],
      ['prove', 'nobody'],
      ['prove', 'twice'],
      ['prove-event', '1', '--json'],
      ['prove-event', '9999'],
      ['prove-event', 'x'],
      ['export', '--format', 'csv'],
      ['export', '--format', 'ocsf', '--outcome', 'allowed'],
      ['export', '--json'],
      ['export', '--format', 'xml'],
    ]) {
      const [here, there] = await Promise.all([local(...words), as('auditor', ...words)])
      const name = words.join(' ')
      t.equal(there.code, here.code, `${name}: ${there.stderr}`)
      t.equal(there.stdout, here.stdout, name)
      t.equal(there.stderr, here.stderr, name)
    }
    t.equal(
      (await entries('search', '--principal', 'arn:aws:iam::123456789012:user/Alice')).length,
      6,
    )
  })

  await t.test('a proof from the listener can be checked without it', async (t) => {
    const { stdout } = await as('auditor', 'prove', 'one-1')
    const file = join(base.HOME, 'one.tlog-proof')
    await writeFile(file, stdout)
    t.match(await local('check-proof', file), { code: 0, stdout: /^valid: entry/ })
  })

  await t.test('roles', async (t) => {
    const refused = await as('viewer', 'search')
    t.match(refused, { code: 1, stderr: /the role viewer does not allow this/ })
    const file = join(base.HOME, 'kms.json')
    const words = ['credentials', 'create', '--key-store', 'other', '--output', file]
    const made = await latchkeyHere([...words, '--config', server.configFile])
    t.equal(made.code, 0, made.stderr)
    const { XksProxyAuthenticationCredential: pair } = JSON.parse(
      await readFile(file, 'utf8'),
    ) as Record<string, Record<string, string>>
    const other = server.client({
      uriPath: '/other/kms/xks/v1',
      accessKeyId: pair?.['AccessKeyId'] ?? '',
      secretAccessKey: new Secret(pair?.['RawSecretAccessKey'] ?? ''),
    })
    const body = JSON.stringify({
      ...encryptBody(),
      requestMetadata: requestMetadata('Encrypt', { kmsRequestId: 'elsewhere' }),
    })
    await eventually(async () => (await other.post(`/keys/${KEY_ID}/encrypt`, body)).status === 200)
    await eventually(async () => (await entries('search', '--key-store', 'other')).length > 0)
    const seen = await as(limited.name, 'search', '--json')
    t.equal(seen.code, 0, seen.stderr)
    const stores = (JSON.parse(seen.stdout) as Record<string, unknown>[]).map(
      (one) => one['keyStore'],
    )
    t.same([...new Set(stores)], ['demo'], 'a limited role sees the entries of its key stores')
    t.equal(stores.length, ROUNDS + 2)
    t.equal((await as(limited.name, 'prove', 'one-0')).code, 0)
    t.match(await as(limited.name, 'prove', 'elsewhere'), { code: 1, stderr: /no log has/ })
    const [hidden] = await entries('search', '--key-store', 'other')
    const { body: listed } = await call(server, 'GET', LOGS, { token: token('auditor') })
    const name = (listed['logs'] as string[]).find((one) => one !== 'control') ?? ''
    const path = `/admin/v1/audit/proof?log=${name}&index=${String(hidden?.['index'])}`
    t.equal((await call(server, 'GET', path, { token: token('auditor') })).status, 200)
    t.equal((await call(server, 'GET', path, { token: token(limited.name) })).status, 404)
    const checkpoint = `/admin/v1/audit/logs/${name}/checkpoint`
    t.equal((await call(server, 'GET', checkpoint, { token: token(limited.name) })).status, 403)
  })

  await t.test('pages, faulty parameters and many wildcards', async (t) => {
    const { body: listed } = await call(server, 'GET', LOGS, { token: token('auditor') })
    const log = (listed['logs'] as string[]).find((one) => one !== 'control') ?? ''
    const load = (query: string) =>
      call(server, 'GET', `/admin/v1/audit/entries?log=${log}${query}`, { token: token('auditor') })
    const { body: page } = await load('')
    t.notOk('next' in page, 'one answer has all')
    const whole = page['entries'] as { index: number }[]
    for (const order of ['oldest', 'newest']) {
      const found: { index: number }[] = []
      let at = ''
      for (;;) {
        const { body } = await load(`&order=${order}&limit=2${at}`)
        const { next } = body
        found.push(...(body['entries'] as { index: number }[]))
        if (typeof next !== 'number') break
        at = `&${order === 'newest' ? 'before' : 'from'}=${String(next)}`
      }
      t.same(order === 'newest' ? found.reverse() : found, whole, order)
    }
    for (const query of ['&typo=1', '&order=best', '&from=-1', '&since=now']) {
      t.equal(codeOf(await load(query)), 'INPUT_INVALID', query)
    }
    const none = await call(server, 'GET', '/admin/v1/audit/entries?log=none', {
      token: token('auditor'),
    })
    t.match(none, { status: 404, body: { error: { reason: 'AUDIT_NOT_FOUND' } } })
    t.same((await load(`&principal=${'*a'.repeat(900)}`)).body['entries'], [], 'in linear time')
  })

  await t.test('flags that exclude each other', async (t) => {
    const both = await local('search', '--folder', server.config.audit.folder)
    t.equal(both.code, 0, both.stderr)
    t.match(await as('auditor', 'search', '--folder', 'x', '--context', 'y'), { code: 64 })
  })
})
