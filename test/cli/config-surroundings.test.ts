/**
 * Tests that `latchkey config check` detects problems outside the file that would prevent `serve` from starting: files,
 * keys, folders and ports.
 */
// SPDX-License-Identifier: Apache-2.0
import { chmod, copyFile, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { type Workspace, workspace } from '../support/cli.ts'
import { testPki } from '../support/pki.ts'

type Json = Record<string, never>
type Change = (config: Json, folder: string) => Promise<void> | void

const pki = await testPki()

async function change({ configFile, folder }: Workspace, edit: Change): Promise<void> {
  const config = parse(await readFile(configFile, 'utf8')) as Json
  await edit(config, folder)
  await writeFile(configFile, stringify(config))
}

const set =
  (at: string, value: unknown): Change =>
  (config) => {
    const names = at.split('.')
    const last = names.pop() ?? ''
    let place: Record<string, unknown> = config
    for (const name of names) place = (place[name] ??= {}) as Record<string, unknown>
    place[last] = value
  }

const file =
  (name: string, bytes: string | Buffer, at: string): Change =>
  async (config, folder) => {
    await writeFile(join(folder, name), bytes)
    await set(at, name)(config, folder)
  }

const certificate = await readFile(pki.certificateFile)
const privateKey = await readFile(pki.privateKeyFile)
const other = await pki.issue('config-other', { commonName: 'other', usage: 'server' })
const pem = certificate.toString()
const der = Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64')

const CERTIFICATE = 'listener.tls.certificate'
const KEY = 'listener.tls.privateKey'

/** Configures a PostgreSQL store and writes the given TLS files for it. */
const postgres =
  (tls: Readonly<Record<string, string | Buffer>>): Change =>
  async (config, folder) => {
    for (const [name, bytes] of Object.entries(tls)) await writeFile(join(folder, name), bytes)
    const files = Object.fromEntries(Object.keys(tls).map((name) => [name, name]))
    const place = { host: 'db.example.com', database: 'x', user: 'x', tls: files }
    await set('store', { postgres: place, masterKey: { file: 'master.key' } })(config, folder)
  }

const FAULTS: Readonly<Record<string, readonly [Change, RegExp]>> = {
  'no certificate': [set(CERTIFICATE, 'none.crt'), /listener\.tls: .*none\.crt: cannot be read/],
  'another key': [set(KEY, other.privateKeyFile), /does not match the first certificate/],
  swapped: [
    file('a', privateKey, CERTIFICATE),
    /expected a PEM certificate; check whether the certificate and the private/,
  ],
  'a certificate cut off': [
    file('a', pem.slice(0, -40), CERTIFICATE),
    /truncated: 1 blocks begin and 0/,
  ],
  'a key cut off': [
    file('a', privateKey.subarray(0, 900), KEY),
    /truncated: 1 blocks begin and 0 end/,
  ],
  DER: [file('a', der, CERTIFICATE), /expected PEM, found DER; /],
  'UTF-16': [file('a', Buffer.from(`\ufeff${pem}`, 'utf16le'), CERTIFICATE), /UTF-16 text/],
  'an authority that is none': [
    async (config, folder) => {
      const bundle = `${pem}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`
      await writeFile(join(folder, 'ca'), bundle)
      await set('listener.clientCertificate', { ca: 'ca', regions: ['eu-west-1'] })(config, folder)
    },
    /listener\.tls: .*ca: expected a PEM certificate/,
  ],
  'the certificate of the admin listener': [
    set('admin', {
      ...{ port: 0, tls: { certificate: 'none.crt', privateKey: 'none.key' } },
      tokens: [{ name: 'x', role: 'viewer', sha256: '0'.repeat(64) }],
    }),
    /admin\.tls: .*none\.crt: cannot be read/,
  ],
  'a master key that others read': [
    async (_config, folder) => {
      await chmod(join(folder, 'master.key'), 0o644)
    },
    /store\.masterKey\.file: .*others can read/,
  ],
  'a master key of another length': [
    (_config, folder) => writeFile(join(folder, 'master.key'), 'short'),
    /store\.masterKey\.file: .*exactly 32 bytes|32 bytes/,
  ],
  'no store': [set('store.path', 'none.db'), /store\.path: .*there is no store; run latchkey init/],
  'a store that is none': [
    (_config, folder) => writeFile(join(folder, 'latchkey.db'), 'junk'.repeat(2000)),
    /store\.path: .*latchkey\.db is not a Latchkey store/,
  ],
  'an empty store': [
    (_config, folder) => writeFile(join(folder, 'latchkey.db'), ''),
    /store\.path: .*latchkey\.db is empty/,
  ],
  'a database of another program': [
    async (_config, folder) => {
      const path = join(folder, 'latchkey.db')
      await rm(path)
      new Sqlite(path).exec('CREATE TABLE x (y)').close()
    },
    /store\.path: .*latchkey\.db is not a Latchkey store/,
  ],
  'a store of a later release': [
    (_config, folder) => {
      const database = new Sqlite(join(folder, 'latchkey.db'))
      database.pragma('user_version = 9999')
      database.close()
    },
    /store\.path: .*schema version 9999/,
  ],
  'a store without its beginning': [
    async (_config, folder) => {
      const path = join(folder, 'latchkey.db')
      await writeFile(path, (await readFile(path)).fill(0, 100, 8192))
    },
    /store\.path: .*cannot be read as a store/,
  ],
  'the master key of another store': [
    (_config, folder) => writeFile(join(folder, 'master.key'), Buffer.alloc(32, 7)),
    /store\.path: the master key does not open this store; restore the store and its master key/,
  ],
  'an authority of PostgreSQL that is none': [
    postgres({ ca: 'junk' }),
    /store\.postgres\.tls: .*ca: expected a PEM certificate/,
  ],
  'a key of PostgreSQL for another certificate': [
    postgres({ certificate: pem, privateKey: await readFile(other.privateKeyFile) }),
    /store\.postgres\.tls: .*does not match the first certificate/,
  ],
  'a certificate for PostgreSQL without its key': [
    postgres({ certificate: pem }),
    /store\.postgres\.tls: expected both certificate and privateKey, or neither/,
  ],
  'a folder of the audit log that cannot be created': [
    async (config, folder) => {
      await writeFile(join(folder, 'file'), '')
      await set('audit', { mode: 'strict', folder: 'file/audit' })(config, folder)
    },
    /audit\.folder: .*file is not a folder/,
  ],
  'a folder of the audit log behind a link that leads nowhere': [
    async (config, folder) => {
      await symlink('nowhere', join(folder, 'link'))
      await set('audit', { mode: 'buffered', folder: 'link/audit' })(config, folder)
    },
    /audit\.folder: ENOENT/,
  ],
  'two listeners on one port': [
    async (config, folder) => {
      await set('listener.port', 8443)(config, folder)
      await set('metrics', { host: '127.0.0.1', port: 8443 })(config, folder)
    },
    /metrics\.port: expected a port other than that of listener\.port, found 8443/,
  ],
  'no folder for the high-water file': [
    set('control.highWaterFile', 'no/such/folder/x.epoch'),
    /control\.highWaterFile: .*cannot write/,
  ],
  'no module': [
    async (config, folder) => {
      await writeFile(join(folder, 'pin'), '1234', { mode: 0o600 })
      const tokens = [{ label: 'x', pin: { file: 'pin' } }]
      await set('backends', [{ name: 'hsm', kind: 'pkcs11', module: './none.so', tokens }])(
        config,
        folder,
      )
    },
    /backends\[0\]\.module: .*none\.so/,
  ],
  'a PIN with a byte order mark': [
    async (config, folder) => {
      await writeFile(join(folder, 'pin'), '\ufeff1234', { mode: 0o600 })
      const tokens = [{ label: 'x', pin: { file: 'pin' } }]
      await set('backends', [{ name: 'hsm', kind: 'pkcs11', module: 'x.so', tokens }])(
        config,
        folder,
      )
    },
    /tokens\[0\]\.pin: .*begins with a byte order mark/,
  ],
  'an address of another host': [
    set('listener.host', '192.0.2.1'),
    /listener: cannot listen on 192/,
  ],
  'a region that is none': [
    set('keyStores', [{ name: 'demo', regions: ['EU-WEST-1', 'no'] }]),
    /keyStores\[0\]\.regions\[0\]: expected a region.*[\s\S]*regions\[1\]: expected a region/,
  ],
}

for (const [name, [edit, expected]] of Object.entries(FAULTS)) {
  void t.test(`an error: ${name}`, async (t) => {
    const space = await workspace(t)
    await change(space, edit)
    const { code, stderr, stdout } = await space.run('config', 'check')
    t.equal(code, 78, stdout)
    t.match(stderr, expected)
    t.notMatch(stderr, /PRIVATE KEY-----/)
  })
}

const WARNINGS: Readonly<Record<string, readonly [Change, RegExp]>> = {
  'no intermediate': [() => undefined, /listener\.tls\.certificate: .*no intermediate/],
  'the sentinel file': [
    (_config, folder) => writeFile(join(folder, 'latchkey.db.block'), ''),
    /control\.sentinelFile: .*refuses all requests/,
  ],
  'a folder that everybody writes to': [
    (_config, folder) => chmod(folder, 0o777),
    /store\.path: anyone can write to/,
  ],
}

for (const [name, [edit, expected]] of Object.entries(WARNINGS)) {
  void t.test(`a warning: ${name}`, async (t) => {
    const space = await workspace(t)
    await change(space, edit)
    const { code, stdout } = await space.run('config', 'check')
    t.equal(code, 0)
    t.match(stdout, expected)
  })
}

async function takePort(t: Test): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

void t.test('a port in use is only a warning, because a running server may use it', async (t) => {
  const space = await workspace(t)
  await change(space, set('listener.port', await takePort(t)))
  t.match(await space.run('config', 'check'), {
    code: 0,
    stdout: /is in use; that is expected while Latchkey is running/,
  })
})

void t.test('the check neither changes nor creates files', async (t) => {
  const space = await workspace(t)
  await change(space, set('audit', { mode: 'strict', folder: 'new/audit' }))
  const store = join(space.folder, 'latchkey.db')
  const [files, bytes] = [await readdir(space.folder), await readFile(store)]
  t.match(await space.run('config', 'check'), { code: 0, stdout: /is valid/ })
  t.same(await readdir(space.folder), files)
  t.ok(bytes.equals(await readFile(store)))
})

void t.test('with changes pending in the WAL, a wrong master key is only a warning', async (t) => {
  const space = await workspace(t)
  const database = new Sqlite(join(space.folder, 'latchkey.db'))
  t.teardown(() => database.close())
  database.exec('BEGIN; CREATE TABLE x (y); DROP TABLE x; COMMIT')
  t.match(await space.run('config', 'check'), { code: 0 })
  await writeFile(join(space.folder, 'master.key'), Buffer.alloc(32, 7))
  t.match(await space.run('config', 'check'), {
    code: 0,
    stdout: /store\.masterKey: .*does not open this store \(checked against the last checkpoint/,
  })
})

void t.test('a byte order mark before PEM, YAML or JSON is ignored', async (t) => {
  const space = await workspace(t)
  await change(space, file('bom.crt', `\ufeff${pem}`, CERTIFICATE))
  await writeFile(space.configFile, `\ufeff${await readFile(space.configFile, 'utf8')}`)
  t.match(await space.run('config', 'check'), { code: 0 })
  await writeFile(space.configFile, Buffer.from('\ufeffworkers: 1\n', 'utf16le'))
  t.match(await space.run('config', 'check'), { code: 78, stderr: /UTF-16; save it as UTF-8/ })
})

void t.test('--offline checks only the file', async (t) => {
  const space = await workspace(t, { withoutStore: true })
  const nowhere = await mkdir(join(space.folder, 'away'), { recursive: true })
  await copyFile(space.configFile, join(nowhere ?? '', 'latchkey.yaml'))
  await change(space, set('store.masterKey', { passphrase: { env: 'NOT_SET' } }))
  await change(space, set(CERTIFICATE, 'none.crt'))
  t.match(await space.run('config', 'check'), { code: 78, stderr: /NOT_SET/ })
  t.match(await space.run('config', 'check', '--offline'), { code: 0, stdout: /is valid/ })
  await change(space, set('lisener', 1))
  t.match(await space.run('config', 'check', '--offline'), { code: 78, stderr: /did you mean/ })
})
