/** Tests `latchkey credentials …`: the secret that is printed once for KMS, and what the store keeps. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { workspace, type Workspace } from '../support/cli.ts'

interface ConsoleFile {
  readonly XksProxyUriPath: string
  readonly XksProxyAuthenticationCredential: {
    readonly AccessKeyId: string
    readonly RawSecretAccessKey: string
  }
}

interface Summary {
  readonly accessKeyId: string
  readonly keyStore: string
  readonly status: string
  readonly createdAt: number
  readonly expiresAt?: number
  readonly revokedAt?: number
}

const HOUR_MS = 3_600_000

async function create(space: Workspace, ...words: readonly string[]): Promise<ConsoleFile> {
  return (await space.json('credentials', 'create', ...words)) as ConsoleFile
}

async function list(space: Workspace, ...words: readonly string[]): Promise<readonly Summary[]> {
  return (await space.json('credentials', 'list', ...words)) as readonly Summary[]
}

void t.test(
  '[CON-1] create prints the file of the KMS console, whose secret is shown once',
  async (t) => {
    const space = await workspace(t)
    const { code, stdout, stderr } = await space.run('credentials', 'create')
    t.equal(code, 0)
    t.equal(stderr, '')
    const file = JSON.parse(stdout) as ConsoleFile
    t.strictSame(Object.keys(file), ['XksProxyUriPath', 'XksProxyAuthenticationCredential'])
    t.equal(file.XksProxyUriPath, '/demo/kms/xks/v1')
    const { AccessKeyId, RawSecretAccessKey, ...others } = file.XksProxyAuthenticationCredential
    t.strictSame(others, {})
    t.match(AccessKeyId, /^[A-Z2-7]{20,30}$/)
    t.match(RawSecretAccessKey, /^[A-Za-z0-9/+=]{43,64}$/)

    const after = [
      await space.run('credentials', 'list'),
      await space.run('credentials', 'list', '--json'),
    ]
    for (const { stdout } of after) {
      t.ok(stdout.includes(AccessKeyId))
      t.notOk(stdout.includes(RawSecretAccessKey))
    }
    for (const name of await readdir(space.folder)) {
      const bytes = await readFile(join(space.folder, name))
      t.notOk(bytes.includes(RawSecretAccessKey), `${name} does not hold it in clear`)
    }
  },
)

void t.test('[CON-1] --output writes the file for its owner, and never over another', async (t) => {
  const space = await workspace(t)
  const target = join(space.folder, 'kms-console.json')
  const { code, stdout } = await space.run('credentials', 'create', '--output', target)
  t.equal(code, 0)
  const text = await readFile(target, 'utf8')
  const { AccessKeyId, RawSecretAccessKey } = (JSON.parse(text) as ConsoleFile)
    .XksProxyAuthenticationCredential
  t.equal(stdout, `created ${AccessKeyId}; the JSON file for the KMS console is ${target}\n`)
  t.notOk(stdout.includes(RawSecretAccessKey))
  t.equal((await stat(target)).mode & 0o777, 0o600)

  t.strictSame(await space.run('credentials', 'create', '--output', target), {
    code: 65,
    stdout: '',
    stderr: `latchkey: error: ${target} already exists\n`,
  })
  t.equal(await readFile(target, 'utf8'), text)
  const nowhere = join(space.folder, 'no-such-folder/kms-console.json')
  t.equal((await space.run('credentials', 'create', '--output', nowhere)).code, 65)
  t.strictSame(
    (await list(space)).map(({ status }) => status).sort(),
    ['ACTIVE', 'REVOKED', 'REVOKED'],
    'what nobody saw is of no use to anybody',
  )
})

void t.test('a credential can be imported from another proxy, but only once', async (t) => {
  const space = await workspace(t)
  const pair = { AccessKeyId: 'BETAWPB34NQBCCOUTTBW', RawSecretAccessKey: 'a/b+'.repeat(11) }
  const file = join(space.folder, 'other.json')
  const text = JSON.stringify({ XksProxyAuthenticationCredential: pair })
  await writeFile(file, text, { mode: 0o600 })
  const taken = await create(space, '--from-file', file)
  t.strictSame(taken.XksProxyAuthenticationCredential, pair)
  const again = await space.run('credentials', 'create', '--from-file', file)
  t.strictSame(again, {
    code: 1,
    stdout: '',
    stderr: 'latchkey: error: this access key id is already in use\n',
  })
  const other = { ...pair, AccessKeyId: 'C'.repeat(20) }
  const piped = await space.runProcess(
    { input: JSON.stringify({ XksProxyAuthenticationCredential: other }) },
    ...['credentials', 'create', '--from-file', '-', '--json'],
  )
  t.match(JSON.parse(piped.stdout), { XksProxyAuthenticationCredential: other })
})

void t.test("list shows each credential's status, and can be limited to a key store", async (t) => {
  const space = await workspace(t, {
    keyStores: [
      { name: 'one', prefix: '/one' },
      { name: 'two', prefix: '/two' },
    ],
  })
  const ofOne = await create(space, '--key-store', 'one')
  const ofTwo = await create(space, '--key-store', 'two', '--expires', '90d')
  t.equal(ofTwo.XksProxyUriPath, '/two/kms/xks/v1')
  const all = await list(space)
  t.same(new Set(all.map(({ keyStore }) => keyStore)), new Set(['one', 'two']))
  const [only, ...others] = await list(space, '--key-store', 'two')
  t.strictSame(others, [])
  t.equal(only?.accessKeyId, ofTwo.XksProxyAuthenticationCredential.AccessKeyId)
  t.equal(only?.status, 'ACTIVE')
  const inDays = ((only?.expiresAt ?? 0) - Date.now()) / (24 * HOUR_MS)
  t.ok(inDays > 89 && inDays < 91, `${String(inDays)} days`)

  const { stdout } = await space.run('credentials', 'list', '--key-store', 'one')
  const [headings = '', row = ''] = stdout.split('\n')
  t.match(
    headings,
    /^ACCESS KEY ID +KEY STORE +STATUS +CREATED +EXPIRES +REVOKED +USES +LAST USED$/,
  )
  t.match(row, new RegExp(`^${ofOne.XksProxyAuthenticationCredential.AccessKeyId} +one +ACTIVE `))
  const missing = await space.run('credentials', 'create')
  t.equal(missing.code, 64)
  t.match(
    missing.stderr,
    'several key stores are configured; choose one with --key-store: one, two',
  )
  t.equal((await space.run('credentials', 'list', '--key-store', 'three')).code, 64)
})

void t.test('expire sets a time; revoke is permanent and requires --yes', async (t) => {
  const space = await workspace(t)
  const { AccessKeyId } = (await create(space)).XksProxyAuthenticationCredential
  const later = (await space.json('credentials', 'expire', AccessKeyId, '--at', '24h')) as Summary
  t.equal(later.status, 'ACTIVE')
  t.ok(Math.abs((later.expiresAt ?? 0) - Date.now() - 24 * HOUR_MS) < HOUR_MS)
  const text = await space.run('credentials', 'expire', AccessKeyId, '--at', '2020-01-31')
  t.equal(
    text.stdout,
    `${AccessKeyId} expires at 2020-01-31T00:00:00.000Z; requests signed with it are refused from then on\n`,
  )
  t.equal((await list(space))[0]?.status, 'EXPIRED')

  const asked = await space.json('credentials', 'revoke', AccessKeyId)
  t.strictSame(asked, { wouldRevoke: AccessKeyId, done: false })
  t.equal((await list(space))[0]?.status, 'EXPIRED', 'nothing was done')
  t.match((await space.run('credentials', 'revoke', AccessKeyId)).stdout, /^would revoke .*--yes/)
  const revoked = (await space.json('credentials', 'revoke', AccessKeyId, '--yes')) as Summary
  t.equal(revoked.status, 'REVOKED')
  t.strictSame(
    await space.json('credentials', 'revoke', AccessKeyId, '--yes'),
    revoked,
    'twice is once',
  )
  t.strictSame(await space.run('credentials', 'expire', AccessKeyId, '--at', '24h'), {
    code: 1,
    stdout: '',
    stderr: `latchkey: error: ${AccessKeyId} is revoked\n`,
  })
})

void t.test('invalid requests are refused with their exit code, and change nothing', async (t) => {
  const space = await workspace(t)
  const nobody = 'A'.repeat(26)
  for (const [code, ...words] of [
    [65, 'create', '--expires', 'tomorrow'],
    [65, 'create', '--expires', '2020-01-01'],
    [65, 'expire', nobody, '--at', 'soon'],
    [1, 'expire', nobody],
    [65, 'revoke', nobody],
    [1, 'revoke', nobody, '--yes'],
    [66, 'create', '--from-file', 'no-such-file.json'],
    [64, 'create', '--key-store', 'nowhere'],
  ] as const) {
    const ended = await space.run('credentials', ...words, '--json')
    t.equal(ended.code, code, words.join(' '))
    t.equal(ended.stdout, '')
    t.type((JSON.parse(ended.stderr) as { error: { message: unknown } }).error.message, 'string')
  }
  t.strictSame(await list(space), [])
})
