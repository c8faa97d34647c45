/** Tests mTLS with TLS session resumption: trust in a client does not outlast its certificate. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
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
  type Attempt,
  type TlsVersion,
} from '../support/client-certificate.ts'
import { newAuthority, testPki } from '../support/pki.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

const pki = await testPki()
const other = await newAuthority('Another CA')
const good = await issueClient('client-good')

/** Tries to resume `session`, with and without a client certificate. */
async function resume(server: TestServer, { session }: Attempt, version: TlsVersion) {
  const options = { ...only(version), ...(session === undefined ? {} : { session }) }
  return {
    bare: await attempt(server.port, healthRequest(server), options),
    shown: await attempt(server.port, healthRequest(server), { ...options, ...show(good) }),
  }
}

void t.test(
  '[AUTH-3] a session from a valid certificate cannot be resumed without it',
  async (t) => {
    const open = await startTestServer(t)
    const server = await startMtls(t)
    for (const version of VERSIONS) {
      // A server without mTLS does resume the session, which shows that this test can detect resumption.
      const first = await attempt(open.port, healthRequest(open), only(version))
      t.equal((await resume(open, first, version)).bare.reused, true)

      const trusted = await attempt(server.port, healthRequest(server), {
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

void t.test('[AUTH-3] a session from a refused connection cannot be resumed', async (t) => {
  const server = await startMtls(t)
  const wrong = await issueClient('cn-resume', { commonName: 'evil.example' })
  for (const version of VERSIONS) {
    const refused = await attempt(server.port, healthRequest(server), {
      ...show(wrong),
      ...only(version),
    })
    t.equal(refused.received, '')
    const { session } = refused
    const again = { ...only(version), ...(session === undefined ? {} : { session }) }
    t.equal((await attempt(server.port, healthRequest(server), again)).received, '')
    t.equal(
      (await attempt(server.port, healthRequest(server), { ...again, ...show(wrong) })).received,
      '',
    )
  }
})

void t.test('[AUTH-3] a session does not outlive its permitted subjects or its CA', async (t) => {
  const caFile = join(pki.folder, 'changing-ca.crt')
  await writeFile(caFile, pki.authority.certificatePem)
  const before = await startMtls(t, [EAST], caFile)
  const after = await startMtls(t, [WEST])
  for (const version of VERSIONS) {
    const trusted = await attempt(before.port, healthRequest(before), {
      ...show(good),
      ...only(version),
    })
    t.match(trusted.received, /^HTTP\/1\.1 200 /)
    const elsewhere = await resume(after, trusted, version)
    t.match(elsewhere, { bare: { received: '' }, shown: { received: '', reused: false } })

    await writeFile(caFile, other.certificatePem)
    await before.running.reloadCertificates()
    const changed = await resume(before, trusted, version)
    t.match(changed, { bare: { received: '' }, shown: { received: '', reused: false } })
    await writeFile(caFile, pki.authority.certificatePem)
    await before.running.reloadCertificates()
  }
})
