/** Tests mTLS: trusted clients reach HTTP, and all other clients receive no HTTP data at all. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import forge from 'node-forge'
import t from 'tap'
import {
  attempt,
  EAST,
  healthRequest,
  issueClient,
  only,
  show,
  startMtls,
  VERSIONS,
  WEST,
  type Files,
} from '../support/client-certificate.ts'
import { issueEcCertificate } from '../support/handshake.ts'
import { newAuthority, testPki } from '../support/pki.ts'
import { KEY_ID, type TestServer } from '../support/server.ts'

const HTTP2_PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0'
const DAY_MS = 86_400_000

const pki = await testPki()
const authorities = {
  other: await newAuthority('Another CA'),
  /** A CA with the trusted CA's name but a different key. */
  namesake: await newAuthority('Latchkey test CA'),
}

const good = await issueClient('client-good')

async function refusals(server: TestServer): Promise<readonly Record<string, unknown>[]> {
  return (await server.stopAndReadLog()).filter(({ msg }) => msg === 'connection refused')
}

void t.test(
  '[AUTH-2] a certificate with a configured subject and authority is served',
  async (t) => {
    const server = await startMtls(t)
    const second = await issueClient('client-west', { commonName: WEST })
    for (const files of [good, second]) {
      for (const version of VERSIONS) {
        const { received } = await attempt(server.port, healthRequest(server), {
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
  const server = await startMtls(t)
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

void t.test('[AUTH-2] subjects and CA come from the configuration', async (t) => {
  const caFile = join(pki.folder, 'other-ca.crt')
  await writeFile(caFile, authorities.other.certificatePem)
  const server = await startMtls(t, ['client.example'], caFile)
  const fitting = await issueClient(
    'configured',
    { commonName: 'client.example' },
    authorities.other,
  )
  const bytes = healthRequest(server)
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
    files: () => issueClient('cn-region', { commonName: 'cks.kms.eu-west-1.amazonaws.com' }),
    line: { reason: 'WRONG_SUBJECT', subject: 'CN=cks.kms.eu-west-1.amazonaws.com' },
  },
  {
    name: 'with a longer name',
    files: () => issueClient('cn-longer', { commonName: `${EAST}.evil.example` }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'with a name that goes on after NUL',
    files: () => issueClient('cn-nul', { commonName: `${EAST}\0.evil.example` }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'with a name in other case',
    files: () => issueClient('cn-case', { commonName: EAST.toUpperCase() }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'with the name only as alternative name',
    files: () => issueClient('cn-san', { commonName: 'evil.example', names: [EAST] }),
    line: { reason: 'WRONG_SUBJECT' },
  },
  {
    name: 'of another authority',
    files: () => issueClient('ca-other', {}, authorities.other),
    line: { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
  },
  {
    name: 'of a namesake of the authority',
    files: () => issueClient('ca-namesake', {}, authorities.namesake),
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
      issueClient('expired', {
        notBefore: new Date(Date.now() - 2 * DAY_MS),
        notAfter: new Date(Date.now() - DAY_MS),
      }),
    line: { reason: 'CERT_HAS_EXPIRED' },
  },
  {
    name: 'that is not valid yet',
    files: () =>
      issueClient('early', {
        notBefore: new Date(Date.now() + DAY_MS),
        notAfter: new Date(Date.now() + 2 * DAY_MS),
      }),
    line: { reason: 'CERT_NOT_YET_VALID' },
  },
  {
    name: 'of a server',
    files: () => issueClient('usage', { usage: 'server' }),
    line: { reason: 'INVALID_PURPOSE' },
  },
]

for (const { name, files, line } of CASES) {
  void t.test(`[AUTH-3] a certificate ${name} receives no HTTP data`, async (t) => {
    const server = await startMtls(t)
    const shown = show(await files())
    let attempts = 0
    for (const version of VERSIONS) {
      for (const [protocol, bytes] of [
        ['http/1.1', healthRequest(server)],
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
  '[AUTH-3] a client without a certificate receives an alert and no HTTP data',
  async (t) => {
    const server = await startMtls(t)
    for (const version of VERSIONS) {
      t.match(await attempt(server.port, healthRequest(server), only(version)), {
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
  '[AUTH-3] a certificate with two common names is refused, although one matches',
  async (t) => {
    const server = await startMtls(t)
    const caKey = join(pki.folder, 'ca.key')
    await writeFile(caKey, forge.pki.privateKeyToPem(pki.authority.privateKey), { mode: 0o600 })
    for (const subject of [`/CN=${EAST}/CN=evil.example`, `/CN=evil.example/CN=${EAST}`]) {
      const files = await issueEcCertificate(pki, 'two-names', subject, {
        caFile: pki.caFile,
        caKey,
      })
      t.equal((await attempt(server.port, healthRequest(server), show(files))).received, '')
    }
    t.match(await refusals(server), [{ reason: 'WRONG_SUBJECT' }, { reason: 'WRONG_SUBJECT' }])
  },
)
