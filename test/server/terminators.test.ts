/** Tests mTLS behind a TLS terminator, using real terminators and clients that imitate one. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import t from 'tap'
import {
  attempt,
  EAST,
  issueClient,
  show,
  WEST,
  type Files,
} from '../support/client-certificate.ts'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { newAuthority, testPki } from '../support/pki.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { HAPROXY, issueTerminator, NGINX, startForwarded } from '../support/terminator.ts'
import { FORGED, healthWith, tellTerminated } from '../support/terminator-story.ts'
import { requestMetadata } from '../support/wire.ts'

const HEALTH = JSON.stringify({ requestMetadata: requestMetadata('KmsHealthCheck') })

for (const terminator of [NGINX, HAPROXY]) {
  void t.test(`[AUTH-2] [AUTH-3] behind ${terminator.name}, as published`, (t) =>
    tellTerminated(t, terminator),
  )
}

const from = (localAddress: string, files?: Files) => ({
  localAddress,
  ...(files === undefined ? {} : show(files)),
})

async function refused(server: TestServer): Promise<readonly Record<string, unknown>[]> {
  const lines = await server.stopAndReadLog()
  return lines.filter(({ msg }) => msg === 'connection refused' || msg === 'request')
}

void t.test('[AUTH-3] an unlisted peer is not trusted, whatever it presents', async (t) => {
  const server = await startForwarded(t, NGINX)
  const kms = await issueClient('direct-kms')
  const terminator = await issueTerminator()
  const forged = healthWith(server, FORGED)
  const direct = await attempt(server.port, healthWith(server, {}), from('127.0.0.8', kms))
  t.match(direct.received, /^HTTP\/1\.1 200 /, 'KMS itself, without a terminator')
  const claiming = await attempt(server.port, forged, from('127.0.0.8', kms))
  t.match(claiming.received, /^HTTP\/1\.1 401 .*AuthenticationFailedException/s)
  for (const files of [terminator, undefined]) {
    t.equal((await attempt(server.port, forged, from('127.0.0.8', files))).received, '')
  }
  t.match(await refused(server), [
    { status: 200 },
    { status: 401, reason: 'FORWARDED_BY_STRANGER', remoteAddress: '127.0.0.8' },
    { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
    { reason: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' },
  ])
})

void t.test("[AUTH-3] a listed peer must present a terminator's certificate", async (t) => {
  const server = await startForwarded(t, NGINX)
  const forged = healthWith(server, FORGED)
  for (const files of [
    // A certificate issued by KMS's authority, but with the terminator's name.
    await issueClient('peer-namesake', { commonName: 'terminator.test' }),
    await issueClient('peer-kms'),
    // A certificate issued by the terminator's authority, but with another name.
    await issueTerminator('other.test'),
    undefined,
  ]) {
    t.equal((await attempt(server.port, forged, from('127.0.0.1', files))).received, '')
  }
  t.match(await refused(server), [
    { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
    { reason: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
    { reason: 'WRONG_SUBJECT', subject: 'CN=other.test' },
    { reason: 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE' },
  ])
})

void t.test(
  '[AUTH-3] a terminator must send exactly one complete, verified header that names KMS',
  async (t) => {
    const server = await startForwarded(t, NGINX)
    const own = await issueTerminator()
    const { 'X-Client-Subject': subject, 'X-Client-Verify': verify } = FORGED
    const good = { 'X-Client-Subject': subject, 'X-Client-Verify': verify }
    const once = healthWith(server, good).toString('latin1')
    const cases = [
      [undefined, once],
      ['FORWARDED_MISSING', healthWith(server, { 'X-Client-Verify': verify })],
      ['FORWARDED_UNVERIFIED', healthWith(server, { 'X-Client-Subject': subject })],
      ['FORWARDED_UNVERIFIED', healthWith(server, { ...good, 'X-Client-Verify': 'NONE' })],
      ['FORWARDED_UNVERIFIED', once.replace('X-Client-Verify:', 'x-client-verify: SUCCESS\r\n$&')],
      ['FORWARDED_UNREADABLE', healthWith(server, { ...good, 'X-Client-Subject': '/CN=x' })],
      ['FORWARDED_UNREADABLE', once.replace('X-Client-Subject:', 'x-client-subject: CN=x\r\n$&')],
      ['FORWARDED_SUBJECT', healthWith(server, { ...good, 'X-Client-Subject': `${subject}.x` })],
    ] as const
    for (const [reason, bytes] of cases) {
      const { received } = await attempt(server.port, bytes, from('127.0.0.1', own))
      t.match(
        received,
        reason === undefined ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 401 /,
        reason ?? 'good',
      )
    }
    const metrics = await server.running.metrics()
    for (const [reason, times] of [
      ['FORWARDED_MISSING', 1],
      ['FORWARDED_UNVERIFIED', 3],
      ['FORWARDED_SUBJECT', 1],
    ] as const) {
      const counted = new RegExp(
        `^latchkey_requests_total\\{.*"${reason}".*\\} ${String(times)}$`,
        'm',
      )
      t.match(metrics, counted)
    }
    const lines = await refused(server)
    t.same(
      lines.map(({ reason }) => reason),
      cases.map(([reason]) => reason),
    )
  },
)

void t.test('[AUTH-2] a terminator may use HTTP/2, and every request is checked', async (t) => {
  const server = await startForwarded(t, { forwardedBy: {}, isProxy: false })
  const session = await openHttp2(t, server, show(await issueTerminator()))
  const header = 'x-forwarded-client-cert'
  const ask = (value?: string) =>
    askHttp2(session, server, '/health', HEALTH, value === undefined ? {} : { [header]: value })
  t.equal(await ask(`Hash=00;Subject="CN=${EAST}"`), 200)
  t.equal(await ask(), 401)
  t.equal(await ask(`Hash=00;Subject="CN=${EAST}",Hash=01;Subject="CN=${WEST}"`), 401)
  t.equal(await ask(`Hash=01;Subject="CN=${WEST}",Hash=00;Subject="CN=${EAST}"`), 200)
  session.destroy()
})

void t.test('a new terminator CA is loaded without a restart', async (t) => {
  const server = await startForwarded(t, NGINX)
  const { caFile = '' } = server.config.listener.clientCertificate?.forwardedBy?.certificate ?? {}
  const request = { commonName: 'terminator.test', usage: 'client' } as const
  const authority = await newAuthority('Next terminator CA')
  const next = await (await testPki()).issue('terminator-next', request, authority)
  const ask = async (files: Files) =>
    (await attempt(server.port, healthWith(server, FORGED), from('127.0.0.1', files))).received
  const own = await issueTerminator()
  t.match(await ask(own), /^HTTP\/1\.1 200 /)
  t.equal(await ask(next), '')
  await writeFile(caFile, authority.certificatePem)
  await server.running.reloadCertificates()
  t.equal(await ask(own), '')
  t.match(await ask(next), /^HTTP\/1\.1 200 /)
})

void t.test('a terminator on loopback needs no certificate', async (t) => {
  const { caFile: ca } = await testPki()
  const forwardedBy = { peers: ['127.0.0.1'] }
  const server = await startTestServer(t, {
    config: { listener: { clientCertificate: { ca, subjects: [EAST], forwardedBy } } },
  })
  const bytes = healthWith(server, FORGED)
  t.match((await attempt(server.port, bytes, from('127.0.0.1'))).received, /^HTTP\/1\.1 200 /)
  t.equal((await attempt(server.port, bytes, from('127.0.0.8'))).received, '')
})
