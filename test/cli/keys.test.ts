/** Tests `latchkey keys …` over a key's entire life cycle. */
// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { KeySummary } from '../../src/keys/administration.ts'
import { workspace, type Workspace } from '../support/cli.ts'

const key = async (space: Workspace, ...words: readonly string[]) =>
  (await space.json('keys', ...words)) as KeySummary

const list = async (space: Workspace, ...words: readonly string[]) =>
  (await space.json('keys', 'list', ...words)) as readonly KeySummary[]

const statesOf = (key: KeySummary | undefined) =>
  key?.versions.map(({ version, state }) => `${String(version)}:${state}`)

const failure = (code: number, message: string) => ({
  code,
  stdout: '',
  stderr: `latchkey: error: ${message}\n`,
})

void t.test('create makes an enabled key with one version, and list shows it', async (t) => {
  const space = await workspace(t)
  t.strictSame(await space.run('keys', 'create', 'payroll-2026'), {
    code: 0,
    stdout: 'created payroll-2026: ENABLED, encrypt,decrypt, version 1\n',
    stderr: '',
  })
  const created = await key(space, 'create', 'archive', '--usage', 'decrypt')
  t.match(created, { keyId: 'archive', status: 'ENABLED', canEncrypt: false, canDecrypt: true })
  t.match(await key(space, 'create', 'one-way', '--usage', 'encrypt'), { canDecrypt: false })
  t.match(await key(space, 'create', 'idle', '--usage', 'none'), {
    canEncrypt: false,
    canDecrypt: false,
  })
  t.same(
    (await list(space)).map(({ keyId }) => keyId),
    ['archive', 'idle', 'one-way', 'payroll-2026'],
  )
  const { stdout } = await space.run('keys', 'list')
  const [headings, ...rows] = stdout.trimEnd().split('\n')
  t.match(headings, /^KEY ID +STATUS +USAGE +VERSIONS +ENCRYPTIONS \(AT MOST\) +CREATED$/)
  t.match(rows[0], /^archive +ENABLED +decrypt +1:CURRENT +0 +\d{4}-\d\d-\d\dT/)
  t.match(rows[1], /^idle +ENABLED +none +/)
})

void t.test('rotate, disable, enable and destroy-version, with the resulting key', async (t) => {
  const space = await workspace(t)
  await key(space, 'create', 'payroll')
  t.same(statesOf(await key(space, 'rotate', 'payroll')), ['1:PREVIOUS', '2:CURRENT'])
  t.equal(
    (await space.run('keys', 'rotate', 'payroll')).stdout,
    'rotated payroll: ENABLED, encrypt,decrypt, version 3\n',
  )
  t.equal((await key(space, 'disable', 'payroll', '--yes')).status, 'DISABLED')
  t.equal((await key(space, 'disable', 'payroll', '--yes')).status, 'DISABLED', 'twice is once')
  t.equal(
    (await space.run('keys', 'enable', 'payroll', '--yes')).stdout,
    'enabled payroll: ENABLED, encrypt,decrypt, version 3\n',
  )
  t.strictSame(await space.json('keys', 'destroy-version', 'payroll', '1'), {
    wouldDestroy: { keyId: 'payroll', version: 1 },
    done: false,
  })
  t.match((await space.run('keys', 'destroy-version', 'payroll', '1')).stdout, /^would destroy/)
  t.same(statesOf((await list(space))[0]), ['1:PREVIOUS', '2:PREVIOUS', '3:CURRENT'])
  const destroyed = await key(space, 'destroy-version', 'payroll', '1', '--yes')
  t.same(statesOf(destroyed), ['1:DESTROYED', '2:PREVIOUS', '3:CURRENT'])
  t.equal((await space.run('keys', 'destroy-version', 'payroll', '3', '--yes')).code, 1)
  t.same(statesOf((await list(space))[0]), statesOf(destroyed), 'nothing else')
})

void t.test(
  'import takes bytes, hexadecimal and Base64, from a file or standard input',
  async (t) => {
    const space = await workspace(t)
    const material = randomBytes(32)
    const file = async (name: string, content: string | Buffer) => {
      const path = join(space.folder, name)
      await writeFile(path, content, { mode: 0o600 })
      return path
    }
    const forms = {
      raw: await file('raw.key', material),
      hex: await file('hex.key', `${material.toString('hex').toUpperCase()}\n`),
      base64: await file('base64.key', ` ${material.toString('base64')}\n`),
    }
    for (const [name, path] of Object.entries(forms))
      t.match(await key(space, 'import', name, '--from-file', path), { keyId: name })
    const piped = await space.runProcess(
      { input: material },
      ...['keys', 'import', 'piped', '--from-file', '-', '--usage', 'decrypt'],
    )
    t.equal(piped.stdout, 'created piped: ENABLED, decrypt, version 1\n')

    const exposed = await file('exposed.key', material)
    await chmod(exposed, 0o640)
    t.strictSame(await space.run('keys', 'import', 'exposed', '--from-file', exposed), {
      code: 77,
      stdout: '',
      stderr: `latchkey: error: others can read ${exposed}\nlatchkey: hint: chmod 600 ${exposed}\n`,
    })
    const sentence =
      'expected key material as 32 raw bytes, 64 hexadecimal digits or 44 Base64 characters'
    for (const content of [
      '',
      randomBytes(31),
      randomBytes(33),
      'f'.repeat(63),
      `${'A'.repeat(42)}==`,
    ])
      t.strictSame(
        await space.run('keys', 'import', 'bad', '--from-file', await file('bad.key', content)),
        failure(65, sentence),
      )
    const missing = join(space.folder, 'missing.key')
    t.strictSame(
      await space.run('keys', 'import', 'bad', '--from-file', missing),
      failure(66, `${missing}: the file does not exist`),
    )
    // The check value of an all-zero AES-256 key is the encryption of an all-zero block (FIPS 197).
    const zeros = await file('zeros.key', Buffer.alloc(32))
    const importZeros = (value: string) =>
      space.run('keys', 'import', 'zeros', '--from-file', zeros, '--check-value', value)
    t.match(await importZeros('dc95c1'), { code: 65, stderr: /check value dc95c1, found dc95c0/ })
    t.match(await importZeros('dc95'), { code: 65, stderr: /six hexadecimal digits/ })
    t.match(await importZeros('DC95C0'), { code: 0, stdout: /^created zeros/ })
    t.strictSame(await space.run('keys', 'import', 'bad'), failure(64, '--from-file is missing'))
    t.same(
      (await list(space)).map(({ keyId }) => keyId),
      ['base64', 'hex', 'piped', 'raw', 'zeros'],
    )
  },
)

void t.test(
  'the event of an import has its check value and the record of its ceremony',
  async (t) => {
    const space = await workspace(t)
    const file = async (name: string, content: string | Buffer) => {
      const path = join(space.folder, name)
      await writeFile(path, content, { mode: 0o600 })
      return path
    }
    const from = ['--from-file', await file('zeros.key', Buffer.alloc(32))]
    const minutes = 'minutes of the ceremony\n'.repeat(10_000)
    const path = await file('minutes.txt', minutes)
    const people = ['--witness', 'Ada Park', '--witness', ' Jo\nWeiss ']
    const ceremony = ['--ceremony', path, ...people]
    t.match(await space.run('keys', 'import', 'zeros', ...from, ...ceremony), { code: 0 })
    t.match(await space.run('keys', 'import', 'plain', ...from), { code: 0 })
    t.match(await space.run('keys', 'create', 'random'), { code: 0 })
    const events = (await space.json('events')) as readonly { kind: string; detail: unknown }[]
    const created = events.filter(({ kind }) => kind === 'key-created').map(({ detail }) => detail)
    const usage = { keyStore: 'demo', canEncrypt: true, canDecrypt: true }
    t.same(
      created.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
      [
        { ...usage, keyId: 'plain', isImported: true, checkValue: 'dc95c0' },
        { ...usage, keyId: 'random', isImported: false },
        {
          ...{ ...usage, keyId: 'zeros', isImported: true, checkValue: 'dc95c0' },
          ceremony: {
            sha256: createHash('sha256').update(minutes).digest('hex'),
            bytes: minutes.length,
            witnesses: ['Ada Park', 'Jo Weiss'],
          },
        },
      ],
    )
    const again = (...words: readonly string[]) =>
      space.run('keys', 'import', 'other', ...from, ...words)
    t.strictSame(await again('--witness', 'Ada'), failure(64, '--witness requires --ceremony'))
    const empty = await file('empty.txt', '')
    t.strictSame(await again('--ceremony', empty), failure(65, `--ceremony: ${empty} is empty`))
    const missing = join(space.folder, 'missing.txt')
    t.match(await again('--ceremony', missing), { code: 66, stderr: /: the file does not exist/ })
    const names = /--witness: expected at most 20 names of 1 to 200 characters/
    for (const wrong of [[''], ['n'.repeat(201)], Array.from({ length: 21 }, () => 'n')]) {
      const flags = wrong.flatMap((name) => ['--witness', name])
      t.match(await again('--ceremony', path, ...flags), { code: 65, stderr: names })
    }
    t.notOk((await list(space)).some(({ keyId }) => keyId === 'other'))
  },
)

void t.test('list shows groups and tags by the labels in force, and filters by them', async (t) => {
  const space = await workspace(t)
  for (const name of ['payroll-1', 'payroll-2', 'archive']) await key(space, 'create', name)
  t.notOk((await list(space)).some((one) => 'groups' in one || 'tags' in one))
  const labels = join(space.folder, 'labels.yaml')
  await writeFile(
    labels,
    'demo/payroll-*: { groups: [gold], tags: { owner: finance } }\n' +
      'demo/payroll-2: { groups: [old], tags: { purpose: a=b } }\n' +
      'other/archive: { groups: [gold] }\n',
  )
  const reason = ['--reason', 'a test', '--yes', '--no-wait']
  const put = await space.run('policy', 'put', labels, ...reason)
  t.equal(put.code, 0, put.stderr)
  const [archive, first, second] = await list(space)
  t.notOk(archive && ('groups' in archive || 'tags' in archive))
  t.match(first, { groups: ['gold'], tags: { owner: 'finance' } })
  t.same(second?.groups, ['gold', 'old'])
  t.same(second?.tags, { owner: 'finance', purpose: 'a=b' })
  const idsOf = async (...words: readonly string[]) =>
    (await list(space, ...words)).map(({ keyId }) => keyId)
  t.same(await idsOf('--group', 'gold'), ['payroll-1', 'payroll-2'])
  t.same(await idsOf('--group', 'gold', '--limit', '1', '--after', 'payroll-1'), ['payroll-2'])
  t.same(await idsOf('--group', 'gone'), [])
  t.same(await idsOf('--tag', 'purpose=a=b', '--tag', 'owner=finance'), ['payroll-2'])
  t.same(await idsOf('--tag', 'purpose=a=b', '--tag', 'owner=other'), [])
  t.same(await idsOf('--tag', 'constructor='), [])
  t.match(await space.run('keys', 'list', '--tag', 'owner'), {
    code: 64,
    stderr: /--tag: expected NAME=VALUE, found owner/,
  })
  const { stdout } = await space.run('keys', 'list', '--wide')
  t.match(stdout, /^KEY ID .* CREATED +GROUPS +TAGS$/m)
  t.match(stdout, /^archive .*Z +- +-$/m)
  t.match(stdout, /^payroll-2 .*Z +gold,old +owner=finance,purpose=a=b$/m)
  t.notMatch((await space.run('keys', 'list', '--after', 'payroll-2')).stdout, 'GROUPS')
})

void t.test(
  'impossible changes are refused with their exit code, and change nothing',
  async (t) => {
    const space = await workspace(t)
    await key(space, 'create', 'payroll')
    const before = await list(space)
    const form = 'expected a key id of 1 to 128 letters, digits, hyphens, periods and underscores'
    for (const [words, code, message] of [
      [['create', 'payroll'], 1, /taken|exists|there/],
      [['create', 'pay roll'], 65, form],
      [['create', 'k'.repeat(129)], 65, form],
      [['create', '..'], 65, form],
      [['create', ''], 65, form],
      [['create', 'other', '--usage', 'sign'], 64, /--usage: expected/],
      [['create', 'other', '--key-store', 'nowhere'], 64, /no key store nowhere/],
      [['rotate', 'nobody'], 1, /nobody|no key/],
      [['disable', 'nobody', '--yes'], 1, /nobody|no key/],
      [['enable', 'nobody', '--yes'], 1, /nobody|no key/],
      [
        ['destroy-version', 'payroll', 'one', '--yes'],
        65,
        'expected a version number (a positive whole number), found one',
      ],
      [
        ['destroy-version', 'payroll', '0', '--yes'],
        65,
        'expected a version number (a positive whole number), found 0',
      ],
      [['destroy-version', 'payroll', '2', '--yes'], 1, /version/],
      [['destroy-version', 'payroll', '1', '--yes'], 1, /current/],
      [['destroy-version', 'nobody', '1', '--yes'], 1, /nobody|no key/],
    ] as const) {
      const ended = await space.run('keys', ...words)
      t.equal(ended.code, code, words.join(' '))
      t.equal(ended.stdout, '')
      t.match(ended.stderr, message)
      t.notMatch(ended.stderr, /\n {4}at /, 'no stack')
    }
    t.strictSame(await list(space), before)
  },
)

void t.test('each key store has its own keys', async (t) => {
  const keyStores = ['one', 'two'].map((name) => ({ name, prefix: `/${name}` }))
  const space = await workspace(t, { keyStores })
  await key(space, 'create', 'same-id', '--key-store', 'one')
  await key(space, 'create', 'same-id', '-s', 'two')
  await key(space, 'rotate', 'same-id', '-s', 'two')
  t.equal((await list(space, '-s', 'one'))[0]?.versions.length, 1)
  t.equal((await list(space, '-s', 'two'))[0]?.versions.length, 2)
  t.strictSame(
    await space.run('keys', 'list'),
    failure(64, 'several key stores are configured; choose one with --key-store: one, two'),
  )
})

void t.test('list shows one page, and how to get the next', async (t) => {
  const space = await workspace(t)
  for (const name of ['c', 'a', 'e', 'b', 'd']) await key(space, 'create', name)
  const ids = async (...words: readonly string[]) =>
    (await list(space, ...words)).map(({ keyId }) => keyId).join('')
  t.equal(await ids('--limit', '2'), 'ab')
  t.equal(await ids('--limit', '2', '--after', 'b'), 'cd')
  t.equal(await ids('--limit', '2', '--after', 'd'), 'e')
  t.equal(await ids('--after', 'bb'), 'cde', 'the key itself may be gone')
  t.equal(await ids('--after', 'e'), '')
  const first = await space.run('keys', 'list', '--limit', '2')
  t.match(first.stdout, /^3 more keys; to see them, add --after b$/m)
  t.notMatch((await space.run('keys', 'list', '--after', 'b')).stdout, /more:/)
  for (const wrong of ['0', '-1', 'x', '1.5'])
    t.match(await space.run('keys', 'list', `--limit=${wrong}`), { code: 65, stderr: /--limit/ })
})
