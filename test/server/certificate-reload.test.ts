/** Tests that a running server loads renewed certificates and ignores broken ones. */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { attempt, show, type Files } from '../support/client-certificate.ts'
import { SERVER_CERTIFICATE, newAuthority, testPki } from '../support/pki.ts'
import { eventually, startTestServer, type TestServer } from '../support/server.ts'
import { openWire, requestMetadata, signedRequest } from '../support/wire.ts'

const pki = await testPki()
const renewed = await pki.issue('renewed', SERVER_CERTIFICATE)
const CLIENT = 'cks.kms.us-east-1.amazonaws.com'
const healthBody = { requestMetadata: requestMetadata('KmsHealthCheck') }

interface Renewable extends TestServer {
  /** Files named in the configuration. */
  readonly files: Files & { readonly caFile: string }
}

async function start(t: Test, options: { readonly mutual?: boolean } = {}): Promise<Renewable> {
  const folder = t.testdir()
  const files = {
    certificateFile: join(folder, 'tls.crt'),
    privateKeyFile: join(folder, 'tls.key'),
    caFile: join(folder, 'clients.crt'),
  }
  await put(files, pki)
  await copyFile(pki.caFile, files.caFile)
  const mutual = { clientCertificate: { ca: files.caFile, subjects: [CLIENT] } }
  const server = await startTestServer(t, {
    config: {
      listener: {
        tls: { certificate: files.certificateFile, privateKey: files.privateKeyFile },
        ...(options.mutual === true ? mutual : {}),
      },
    },
  })
  return Object.defineProperty(server, 'files', { value: files }) as Renewable
}

async function put(to: Files, from: Files): Promise<void> {
  await copyFile(from.certificateFile, to.certificateFile)
  await copyFile(from.privateKeyFile, to.privateKeyFile)
}

async function serial(files: Files): Promise<string> {
  return new X509Certificate(await readFile(files.certificateFile)).serialNumber
}

/** Returns the serial number of the certificate presented to a new connection. */
async function shownSerial(server: TestServer): Promise<string> {
  const wire = await openWire(server)
  const { serialNumber } = wire.socket.getPeerCertificate()
  wire.destroy()
  return serialNumber
}

void t.test('new files are loaded on request, and open connections continue', async (t) => {
  const server = await start(t)
  const open = await openWire(server)
  t.equal(await shownSerial(server), await serial(pki))
  await put(server.files, renewed)
  await server.running.reloadCertificates()
  t.equal(await shownSerial(server), await serial(renewed))

  open.write(signedRequest(server, '/health', healthBody))
  t.equal((await open.answer())?.status, 200)
  open.write(signedRequest(server, '/health', healthBody))
  t.equal((await open.answer())?.status, 200)
  open.destroy()
  const log = await server.stopAndReadLog()
  const lines = log.filter(({ msg }) => msg === 'certificate reloaded')
  t.match(lines, [{ level: 30, certificate: { subject: 'CN=localhost', validTo: String } }])
  t.equal(lines.length, 1)
})

void t.test('new files are noticed within seconds', async (t) => {
  const server = await start(t)
  await put(server.files, renewed)
  const wanted = await serial(renewed)
  await eventually(async () => (await shownSerial(server)) === wanted)
})

void t.test('files behind a switched symbolic link are noticed', async (t) => {
  const server = await start(t)
  // Kubernetes renews mounted secrets this way, by pointing the symlink to new files.
  for (const name of ['certificateFile', 'privateKeyFile'] as const) {
    await symlink(renewed[name], `${server.files[name]}.new`)
    await rename(`${server.files[name]}.new`, server.files[name])
  }
  const wanted = await serial(renewed)
  await eventually(async () => (await shownSerial(server)) === wanted)
})

void t.test(
  'with broken files, the old certificate stays in use, and a warning is logged',
  async (t) => {
    const server = await start(t)
    const { certificateFile, privateKeyFile } = server.files
    const key = await readFile(pki.privateKeyFile, 'utf8')
    const expired = await pki.issue('reload-expired', {
      ...SERVER_CERTIFICATE,
      notBefore: new Date(Date.now() - 2 * 86_400_000),
      notAfter: new Date(Date.now() - 86_400_000),
    })
    const rows: readonly [string, () => Promise<void>, string][] = [
      [
        'only the certificate is new',
        () => copyFile(renewed.certificateFile, certificateFile),
        'CERTIFICATE_MISMATCH',
      ],
      [
        'half a file',
        () => writeFile(certificateFile, '-----BEGIN CERTIFICATE-----\nMIID'),
        'CERTIFICATE_UNREADABLE',
      ],
      ['an empty file', () => writeFile(certificateFile, ''), 'CERTIFICATE_UNREADABLE'],
      ['no file', () => rm(certificateFile), 'CERTIFICATE_UNREADABLE'],
      ['half a key', () => writeFile(privateKeyFile, key.slice(0, 600)), 'CERTIFICATE_UNREADABLE'],
      ['no key', () => rm(privateKeyFile), 'CERTIFICATE_UNREADABLE'],
      ['an expired certificate', () => put(server.files, expired), 'CERTIFICATE_EXPIRED'],
    ]
    for (const [name, spoil, code] of rows) {
      await put(server.files, pki)
      await spoil()
      await t.rejects(server.running.reloadCertificates(), { name: 'TlsError', code }, name)
      t.equal(await shownSerial(server), await serial(pki), name)
    }
    await put(server.files, renewed)
    await server.running.reloadCertificates()
    t.equal(
      await shownSerial(server),
      await serial(renewed),
      'and good ones are taken up after that',
    )
  },
)

void t.test('broken files are logged once, without their contents', async (t) => {
  const server = await start(t)
  const { certificateFile } = server.files
  const secretLine = (await readFile(pki.privateKeyFile, 'utf8')).split('\n')[3] ?? ''
  // Copying the private key over the certificate is the likeliest mistake that could leak a secret into the log.
  await copyFile(pki.privateKeyFile, certificateFile)
  const failed = async () =>
    (await readFile(server.logFile, 'utf8'))
      .split('\n')
      .filter((line) => line.includes('certificate not reloaded'))
  await eventually(async () => (await failed()).length > 0)
  // The next check finds the files unchanged and must not log the failure again.
  await new Promise((resolve) => setTimeout(resolve, 6000))
  t.equal(await shownSerial(server), await serial(pki))
  const lines = await failed()
  t.equal(lines.length, 1)
  t.match(JSON.parse(lines[0] ?? ''), { level: 50, err: { code: 'CERTIFICATE_UNREADABLE' } })
  t.ok(secretLine.length > 40)
  t.notOk((await readFile(server.logFile, 'utf8')).includes(secretLine))
})

void t.test('[AUTH-2] the authority of client certificates is reloaded too', async (t) => {
  const server = await start(t, { mutual: true })
  const request = { commonName: CLIENT, usage: 'client' } as const
  const authority = await newAuthority('Next CA')
  const [old, next] = [
    show(await pki.issue('reload-old', request)),
    show(await pki.issue('reload-next', request, authority)),
  ]
  const bytes = signedRequest(server, '/health', healthBody, { headers: { Connection: 'close' } })
  const isServed = async (shown: typeof old) =>
    (await attempt(server.port, bytes, shown)).received.startsWith('HTTP/1.1 200 ')
  t.same([await isServed(old), await isServed(next)], [true, false])

  await writeFile(server.files.caFile, authority.certificatePem)
  await server.running.reloadCertificates()
  t.same([await isServed(old), await isServed(next)], [false, true])

  await writeFile(server.files.caFile, 'no certificate')
  await t.rejects(server.running.reloadCertificates(), { code: 'CERTIFICATE_UNREADABLE' })
  t.same([await isServed(old), await isServed(next)], [false, true])

  // A bundle of both CAs, as used while rotating from one to the other.
  const both = `${pki.authority.certificatePem}${authority.certificatePem}`
  await writeFile(server.files.caFile, both)
  await server.running.reloadCertificates()
  t.same([await isServed(old), await isServed(next)], [true, true])
})

void t.test('files renewed while the server is starting are loaded', async (t) => {
  const server = await start(t)
  await server.stop()
  const state = { isStarted: false }
  const starting = server.start().then(() => {
    state.isStarted = true
  })
  // The server creates this file when it opens the store, after it has loaded the certificates.
  const wal = join(server.folder, 'latchkey.db-wal')
  while (!existsSync(wal) && !state.isStarted) await new Promise(setImmediate)
  t.notOk(state.isStarted, 'the server is still starting')
  await put(server.files, renewed)
  await starting
  await eventually(async () => (await shownSerial(server)) === (await serial(renewed)))
})
