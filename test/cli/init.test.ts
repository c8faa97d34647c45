/** Tests `latchkey init`: it creates a configuration, a master key and a store, and never overwrites a file. */
// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { latchkey, latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { testPki } from '../support/pki.ts'
import { startPostgres } from '../support/postgres.ts'

const modeOf = async (path: string) => (await stat(path)).mode & 0o777

void t.test(
  'init creates everything that serve needs except the certificate, and prints the next step',
  async (t) => {
    const folder = join(await temporaryFolder(t), 'etc/latchkey')
    const at = (name: string) => join(folder, name)
    const { code, stdout, stderr } = await latchkeyHere(['init', '--dir', folder])
    t.equal(code, 0)
    t.equal(stderr, '')
    t.match(stdout, `configuration  ${at('latchkey.yaml')}\nstore          ${at('latchkey.db')}\n`)
    t.match(stdout, `master key     ${at('master.key')}  (back it up separately from the store)`)
    t.match(stdout, `latchkey serve --config ${at('latchkey.yaml')}`)
    t.equal(await modeOf(folder), 0o700)
    t.equal(await modeOf(at('master.key')), 0o600)
    t.equal(await modeOf(at('latchkey.db')), 0o600)
    t.equal((await readFile(at('master.key'))).length, 32)

    const environment = { LATCHKEY_CONFIG: at('latchkey.yaml') }
    t.match(await latchkeyHere(['config', 'check', '--offline'], environment), {
      code: 0,
      stdout: 'main: /main/kms/xks/v1',
    })
    t.equal((await latchkeyHere(['keys', 'create', 'first'], environment)).code, 0)
    const served = await latchkeyHere(['serve'], environment)
    t.equal(served.code, 66, 'the certificate is for the operator to put in place')
    t.match(served.stderr, /server\.crt/)
  },
)

void t.test('with a certificate in place, the files that init wrote can be served', async (t) => {
  const folder = await temporaryFolder(t)
  await latchkeyHere(['init', '--dir', folder])
  const file = join(folder, 'latchkey.yaml')
  const pki = await testPki()
  const text = (await readFile(file, 'utf8'))
    .replace('tls/server.crt', pki.certificateFile)
    .replace('tls/server.key', pki.privateKeyFile)
    .replace('port: 8443', 'port: 0')
  await writeFile(file, text)
  const checked = await latchkeyHere(['config', 'check', '--config', file])
  t.equal(checked.code, 0, checked.stderr)
})

void t.test('a second init changes nothing and explains why', async (t) => {
  const folder = await temporaryFolder(t)
  const files = ['latchkey.yaml', 'master.key', 'latchkey.db'].map((name) => join(folder, name))
  const first = await latchkeyHere(['init', '--dir', folder, '--json'])
  t.strictSame(JSON.parse(first.stdout), {
    config: files[0],
    store: files[2],
    masterKey: files[1],
  })
  const before = await Promise.all(files.map((file) => readFile(file)))
  const again = await latchkeyHere(['init', '--dir', folder])
  t.equal(again.code, 1)
  t.equal(again.stdout, '')
  t.match(again.stderr, 'a store already exists')
  const after = await Promise.all(files.map((file) => readFile(file)))
  for (const [i, bytes] of before.entries()) t.ok(after[i]?.equals(bytes), String(files[i]))
})

void t.test('init uses an existing configuration and an existing master key', async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'latchkey.yaml')
  const text = `
listener: { tls: { certificate: a.crt, privateKey: a.key } }
keyStores: [{ name: payroll, prefix: /payroll }]
store: { path: other.db, masterKey: { file: own.key } }
`
  await writeFile(file, text)
  const key = Buffer.alloc(32, 7)
  await writeFile(join(folder, 'own.key'), key, { mode: 0o600 })
  const { code, stdout } = await latchkeyHere(['init', '--dir', folder])
  t.equal(code, 0)
  t.match(stdout, join(folder, 'other.db'))
  t.equal(await readFile(file, 'utf8'), text)
  t.ok((await readFile(join(folder, 'own.key'))).equals(key))
})

void t.test(
  'without --dir, init uses the current folder; a passphrase needs no file',
  async (t) => {
    const folder = await temporaryFolder(t)
    await writeFile(
      join(folder, 'latchkey.yaml'),
      `
listener: { tls: { certificate: a.crt, privateKey: a.key } }
keyStores: [{ name: payroll, prefix: /payroll }]
store: { path: latchkey.db, masterKey: { passphrase: { env: PASSPHRASE } } }
`,
    )
    const environment = { PASSPHRASE: 'a passphrase of some length' }
    const { code, stdout, stderr } = await latchkey(t, ['init'], { cwd: folder, environment })
    t.equal(code, 0, stderr)
    t.match(stdout, 'master key     your passphrase')
    t.equal((await latchkey(t, ['keys', 'list'], { cwd: folder, environment })).code, 0)
    const wrong = { PASSPHRASE: 'another passphrase of some length' }
    t.equal((await latchkey(t, ['keys', 'list'], { cwd: folder, environment: wrong })).code, 1)
    t.equal((await latchkey(t, ['keys', 'list'], { cwd: folder })).code, 78, 'no such variable')
  },
)

void t.test('without --dir, init uses the configuration that other commands use', async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'etc/own.yaml')
  const elsewhere = { cwd: folder, environment: { LATCHKEY_CONFIG: file } }
  t.match(await latchkey(t, ['init'], elsewhere), { code: 0, stdout: `configuration  ${file}\n` })
  t.strictSame(await readdir(folder), ['etc'], 'nothing in the current folder')
  t.match(await latchkey(t, ['keys', 'create', 'my-key'], elsewhere), { code: 0 })
  const again = await latchkey(t, ['init'], elsewhere)
  t.match(again, { code: 1, stderr: join(folder, 'etc/latchkey.db') })
})

void t.test('init --if-absent succeeds repeatedly, but not with another master key', async (t) => {
  const folder = await temporaryFolder(t)
  const words = ['init', '--if-absent', '--dir', folder]
  t.match(await latchkeyHere(words), { code: 0, stdout: /\nnext:\n/ })
  t.match(await latchkeyHere(words), {
    code: 0,
    stdout: /already existed; the master key opens it/,
  })
  await writeFile(join(folder, 'master.key'), Buffer.alloc(32, 7))
  t.match(await latchkeyHere(words), { code: 1, stdout: '', stderr: /master key/ })
})

void t.test('concurrent init --if-absent commands create one store in PostgreSQL', async (t) => {
  const { target } = await startPostgres(t)
  const folder = await temporaryFolder(t)
  const { host, port, database, user } = target
  const pki = await testPki()
  const config = {
    listener: { tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile } },
    keyStores: [{ name: 'main' }],
    store: {
      postgres: { host, port, database, user, tls: { mode: 'off' } },
      masterKey: { passphrase: { env: 'PASSPHRASE' } },
    },
  }
  await writeFile(join(folder, 'latchkey.yaml'), JSON.stringify(config))
  const environment = { PASSPHRASE: 'correct horse battery staple' }
  const words = ['init', '--if-absent', '--dir', folder]
  const ended = await Promise.all([1, 2, 3].map(() => latchkeyHere(words, environment)))
  t.same(
    ended.map(({ code }) => code),
    [0, 0, 0],
    ended.map(({ stderr }) => stderr).join(''),
  )
  t.equal(ended.filter(({ stdout }) => stdout.includes('next:')).length, 1, 'one of them made it')
})
