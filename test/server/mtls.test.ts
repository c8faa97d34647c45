/** mTLS: who gets as far as HTTP, and that nobody else gets a byte of it. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import forge from 'node-forge'
import t, { type Test } from 'tap'
import { createAuthority, type CertificateRequest } from '../../certs/dev-pki.ts'
import { attempt, show, type Attempt, type Files } from '../support/client-certificate.ts'
import { issueEcCertificate } from '../support/handshake.ts'
import { testPki } from '../support/pki.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { requestMetadata, signedRequest } from '../support/wire.ts'

const EAST = 'cks.kms.us-east-1.amazonaws.com'
const WEST = 'cks.kms.us-west-2.amazonaws.com'
const HTTP2_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'
const DAY_MS = 86_400_000

const pki = await testPki()
const authorities = {
  other: await createAuthority('Another CA'),
  /** Its name is the one of the authority that is trusted; its key is not. */
  namesake: await createAuthority('Latchkey test CA'),
}

async function issue(name: string, more: Partial<CertificateRequest> = {}, by = pki.authority) {
  return pki.issue(name, { commonName: EAST, usage: 'client', ...more }, by)
}

const good = await issue('client-good')

function start(t: Test, subjects = [EAST, WEST], ca = pki.caFile): Promise<TestServer> {
  return startTestServer(t, { config: { listener: { clientCertificate: { ca, subjects } } } })
}

/** A request that would be answered, were it read. */
function request(server: TestServer): Buffer {
  const body = { requestMetadata: requestMetadata('KmsHealthCheck') }
  return signedRequest(server, '/health', body, { headers: { Connection: 'close' } })
}

async function refusals(server: TestServer): Promise<readonly Record<string, unknown>[]> {
  return (await server.stopAndReadLog()).filter(({ msg }) => msg === 'connection refused')
}

const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const
const only = (version: (typeof VERSIONS)[number]) => ({ minVersion: version, maxVersion: version })

void t.test(
  '[AUTH-2] a certificate with a configured subject and authority is served',
  async (t) => {
    const server = await start(t)
    const second = await issue('client-west', { commonName: WEST })
    for (const files of [good, second]) {
      for (const version of VERSIONS) {
        const { received } = await attempt(server.port, request(server), {
          ...show(files),
          ...only(version),
        })
        t.match(received, /^HTTP\/1\.1 200 OK\r\n.*"xksProxyFleetSize":1/s, version)
      }
    }
    t.same(await refusals(server), [])
  },
)

void t.test('[AUTH-2] all four operations go through mTLS', async (t) => {
  const server = await start(t)
  const client = server.client({ clientCertificate: good })
  t.equal((await client.getHealthStatus()).status, 200)
  t.equal((await client.getKeyMetadata(KEY_ID)).status, 200)
  t.equal((await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status, 200)
  t.match(
    await client.decrypt('nobody', {
      ciphertext: Buffer.alloc(32),
      initializationVector: Buffer.alloc(12),
      authenticationTag: Buffer.alloc(16),
    }),
    { status: 404 },
  )
})

void t.test('[AUTH-2] subjects and authority are those of the configuration', async (t) => {
  const caFile = join(pki.folder, 'other-ca.crt')
  await writeFile(caFile, authorities.other.certificatePem)
  const server = await start(t, ['client.example'], caFile)
  const fitting = await issue('configured', { commonName: 'client.example' }, authorities.other)
  const bytes = request(server)
  t.match((await attempt(server.port, bytes, show(fitting))).received, /^HTTP\/1\.1 200 /)
  t.equal((await attempt(server.port, bytes, show(good))).received, '')
})

const CASES: readonly {
  readonly name: string
  readonly files: () => Promise<Files>
  readonly line: Record<string, unknown>
}[] = [
  {
    name: 'of another region',
    files: () => issue('cn-region', { commonName: 'cks.kms.eu-west-1.amazonaws.com' }),
    line: { reason: 'WRONG_SUBJECT', subject: 'CN=cks.kms.eu-west-1.amazonaws.com' },
  },
  {
    name: 'with a longer name',
    files: () => issue('cn-longer', { commonName: `${EAST}.evil.example` }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'with a name that goes on after NUL',
    files: () => issue('cn-nul', { commonName: `${EAST}\0.evil.example` }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'with a name in other case',
    files: () => issue('cn-case', { commonName: EAST.toUpperCase() }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'with the name only as alternative name',
    files: () => issue('cn-san', { commonName: 'evil.example', names: [EAST] }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'of another authority',
    files: () => issue('ca-other', {}, authorities.other),
    line: { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
  },
  {
    name: 'of a namesake of the authority',
    files: () => issue('ca-namesake', {}, authorities.namesake),
    line: { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
  },
  {
    name: 'that is self-signed',
    files: () => issueEcCertificate(pki, 'self-signed', `/CN=${EAST}`),
    line: { reason: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
  },
  {
    name: 'that is expired',
    files: () =>
      issue('expired', {
        notBefore: new Date(Date.now() - 2 * DAY_MS),
        notAfter: new Date(Date.now() - DAY_MS),
      }),
    line: { reason: 'CERT_HAS_EXPIRED' },
  },
  {
    name: 'that is not valid yet',
    files: () =>
      issue('early', {
        notBefore: new Date(Date.now() + DAY_MS),
        notAfter: new Date(Date.now() + 2 * DAY_MS),
      }),
    line: { reason: 'CERT_NOT_YET_VALID' },
  },
  {
    name: 'of a server',
    files: () => issue('usage', { usage: 'server' }),
    line: { reason: 'INVALID_PURPOSE' },
  },
]

for (const { name, files, line } of CASES) {
  void t.test(`[AUTH-3] a certificate ${name} gets no byte of HTTP`, async (t) => {
    const server = await start(t)
    const shown = show(await files())
    let attempts = 0
    for (const version of VERSIONS) {
      for (const [protocol, bytes] of [
        ['http/1.1', request(server)],
        ['h2', HTTP2_PREFACE],
      ] as const) {
        const { received } = await attempt(server.port, bytes, {
          ...shown,
          ...only(version),
          ALPNProtocols: [protocol],
        })
        t.equal(received, '', `${version} ${protocol}`)
        attempts += 1
      }
    }
    const logged = await refusals(server)
    t.equal(logged.length, attempts, 'one line each')
    for (const entry of logged) t.match(entry, { level: 30, remoteAddress: '127.0.0.1', ...line })
  })
}

void t.test(
  '[AUTH-3] a client without a certificate gets an alert and no byte of HTTP',
  async (t) => {
    const server = await start(t)
    for (const version of VERSIONS) {
      t.match(await attempt(server.port, request(server), only(version)), {
        received: '',
        failure: /alert/,
      })
    }
    const logged = await refusals(server)
    t.equal(logged.length, VERSIONS.length)
    for (const entry of logged) {
      t.match(entry, {
        reason: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE',
        remoteAddress: '127.0.0.1',
      })
    }
  },
)

void t.test(
  '[AUTH-3] a certificate with two common names is refused, though one fits',
  async (t) => {
    const server = await start(t)
    const caKey = join(pki.folder, 'ca.key')
    await writeFile(caKey, forge.pki.privateKeyToPem(pki.authority.privateKey), { mode: 0o600 })
    for (const subject of [`/CN=${EAST}/CN=evil.example`, `/CN=evil.example/CN=${EAST}`]) {
      const files = await issueEcCertificate(pki, 'two-names', subject, {
        caFile: pki.caFile,
        caKey,
      })
      t.equal((await attempt(server.port, request(server), show(files))).received, '')
    }
    t.match(await refusals(server), [{ reason: 'WRONG_SUBJECT' }, { reason: 'WRONG_SUBJECT' }])
  },
)

/** Offers `session` with and without a certificate. */
async function resume(
  server: TestServer,
  { session }: Attempt,
  version: (typeof VERSIONS)[number],
) {
  const options = { ...only(version), ...(session === undefined ? {} : { session }) }
  return {
    bare: await attempt(server.port, request(server), options),
    shown: await attempt(server.port, request(server), { ...options, ...show(good) }),
  }
}

void t.test(
  '[AUTH-3] a session that was made with a good certificate is none without it',
  async (t) => {
    const open = await startTestServer(t)
    const server = await start(t)
    for (const version of VERSIONS) {
      // Without mTLS the same client does resume: the test would see it.
      const first = await attempt(open.port, request(open), only(version))
      t.equal((await resume(open, first, version)).bare.reused, true)

      const trusted = await attempt(server.port, request(server), {
        ...show(good),
        ...only(version),
      })
      t.match(trusted.received, /^HTTP\/1\.1 200 /)
      const { bare, shown } = await resume(server, trusted, version)
      t.match(bare, { received: '', reused: false }, version)
      t.match(shown.received, /^HTTP\/1\.1 200 /, version)
      t.equal(shown.reused, false)
    }
  },
)

void t.test('[AUTH-3] a session of a refused connection leads nowhere', async (t) => {
  const server = await start(t)
  const wrong = await issue('cn-resume', { commonName: 'evil.example' })
  for (const version of VERSIONS) {
    const refused = await attempt(server.port, request(server), {
      ...show(wrong),
      ...only(version),
    })
    t.equal(refused.received, '')
    const { session } = refused
    const again = { ...only(version), ...(session === undefined ? {} : { session }) }
    t.equal((await attempt(server.port, request(server), again)).received, '')
    t.equal(
      (await attempt(server.port, request(server), { ...again, ...show(wrong) })).received,
      '',
    )
  }
})

void t.test(
  '[AUTH-3] a session does not outlive the subjects or the authority it came by',
  async (t) => {
    const caFile = join(pki.folder, 'changing-ca.crt')
    await writeFile(caFile, pki.authority.certificatePem)
    const before = await start(t, [EAST], caFile)
    const after = await start(t, [WEST])
    for (const version of VERSIONS) {
      const trusted = await attempt(before.port, request(before), {
        ...show(good),
        ...only(version),
      })
      t.match(trusted.received, /^HTTP\/1\.1 200 /)
      const elsewhere = await resume(after, trusted, version)
      t.match(elsewhere, { bare: { received: '' }, shown: { received: '', reused: false } })

      await writeFile(caFile, authorities.other.certificatePem)
      await before.running.reloadCertificates()
      const changed = await resume(before, trusted, version)
      t.match(changed, { bare: { received: '' }, shown: { received: '', reused: false } })
      await writeFile(caFile, pki.authority.certificatePem)
      await before.running.reloadCertificates()
    }
  },
)
