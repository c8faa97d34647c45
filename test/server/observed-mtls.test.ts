/**
 * Tests mTLS in observe mode: every signed request is served, and requests that enforce mode would refuse are counted.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createCertificateWatch } from '../../src/server/tls/client-certificate.ts'
import { attempt, EAST, issueClient, show, WEST } from '../support/client-certificate.ts'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { newAuthority, testPki } from '../support/pki.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { issueTerminator, startForwarded } from '../support/terminator.ts'
import { healthWith } from '../support/terminator-story.ts'
import { encryptBody } from '../support/wire.ts'

const pki = await testPki()
const other = await newAuthority('Another CA')

function start(t: Test): Promise<TestServer> {
  const clientCertificate = { ca: pki.caFile, subjects: [EAST], mode: 'observe' }
  return startTestServer(t, { config: { listener: { clientCertificate } } })
}

async function counts(server: TestServer): Promise<Readonly<Record<string, number>>> {
  const text = await server.running.metrics()
  const lines = text.matchAll(/^latchkey_client_certificates_total\{result="(\w+)"\} (\d+)$/gm)
  return Object.fromEntries([...lines].map(([, result = '', value]) => [result, Number(value)]))
}

const input = { plaintext: Buffer.alloc(32, 1) }

void t.test('every client is served and distinguished, over HTTP/1.1 and HTTP/2', async (t) => {
  const server = await start(t)
  const shown = [
    undefined,
    await issueClient('observed-good'),
    await issueClient('observed-name', { commonName: WEST }),
    await issueClient('observed-authority', {}, other),
    await issueClient('observed-purpose', { usage: 'server' }),
    await issueClient('observed-old', {
      notBefore: new Date(Date.now() - 2 * 86_400_000),
      notAfter: new Date(Date.now() - 86_400_000),
    }),
  ]
  const body = JSON.stringify(encryptBody())
  for (const files of shown) {
    const client = server.client(files === undefined ? {} : { clientCertificate: files })
    for (let i = 0; i < 2; i++) t.equal((await client.encrypt(KEY_ID, input)).status, 200)
    await client.close()
    const session = await openHttp2(t, server, files === undefined ? {} : show(files))
    for (let i = 0; i < 2; i++)
      t.equal(await askHttp2(session, server, `/keys/${KEY_ID}/encrypt`, body), 200)
    session.close()
  }
  t.match(await counts(server), {
    OK: 2,
    NO_CERTIFICATE: 2,
    WRONG_SUBJECT: 2,
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: 2,
    INVALID_PURPOSE: 2,
    CERT_HAS_EXPIRED: 2,
  })
  const log = await server.stopAndReadLog()
  t.notOk(log.some(({ msg }) => msg === 'connection refused'))
  const changes = log.filter(({ msg }) => msg === 'client certificate changed')
  t.ok(
    changes.some(
      ({ field, before, now }) => field === 'issuer' && now === 'CN=Another CA' && before,
    ),
  )
  t.ok(changes.some(({ field }) => field === 'purpose'))
  t.match(
    changes.find(({ field }) => field === 'name'),
    { now: `CN=${WEST}` },
  )
})

void t.test('a certificate without a valid signature is not counted', async (t) => {
  const server = await start(t)
  const files = await issueClient('observed-unsigned', { commonName: WEST })
  const client = server.client({
    clientCertificate: files,
    accessKeyId: 'A'.repeat(20),
  })
  t.equal((await client.encrypt(KEY_ID, input)).status, 401)
  t.same(await counts(server), {})
  t.match(await server.running.metrics(), /certificate_changes_total\{field="name"\} 0/)
})

void t.test("a terminator's header is observed separately for each request", async (t) => {
  const server = await startForwarded(t, { forwardedBy: {}, isProxy: false }, 'observe')
  const own = await issueTerminator()
  const named = (name: string) => ({ 'x-forwarded-client-cert': `Hash=00;Subject="CN=${name}"` })
  const told: readonly (readonly [Record<string, string>, string])[] = [
    [named(EAST), 'OK'],
    [named(WEST), 'FORWARDED_SUBJECT'],
    [{}, 'FORWARDED_MISSING'],
    [{ 'x-forwarded-client-cert': 'Subject' }, 'FORWARDED_UNREADABLE'],
  ]
  const body = JSON.stringify(encryptBody())
  const session = await openHttp2(t, server, show(own))
  // Send all requests at once on one session, so that the test would notice if a request got the result of another one.
  const statuses = await Promise.all(
    told.flatMap(([headers]) =>
      Array.from({ length: 5 }, () =>
        askHttp2(session, server, `/keys/${KEY_ID}/encrypt`, body, headers),
      ),
    ),
  )
  t.ok(statuses.every((status) => status === 200))
  for (const [headers] of told) {
    const { received } = await attempt(server.port, healthWith(server, headers), show(own))
    t.match(received, /^HTTP\/1\.1 200 /)
  }
  t.same(await counts(server), Object.fromEntries(told.map(([, result]) => [result, 6])))

  const unsigned = healthWith(server, named(WEST))
    .toString('latin1')
    .replace(/Signature=.{8}/, 'Signature=00000000')
  t.match((await attempt(server.port, unsigned, show(own))).received, /^HTTP\/1\.1 401 /)
  t.equal((await counts(server))['FORWARDED_SUBJECT'], 6, 'a good signature comes first')

  const stranger = { localAddress: '127.0.0.8', ...show(await issueClient('observed-direct')) }
  const claiming = await attempt(server.port, healthWith(server, named(EAST)), stranger)
  t.match(claiming.received, /^HTTP\/1\.1 401 /, 'nobody else may send the header')
  const namesake = { localAddress: '127.0.0.1', ...show(await issueTerminator('other.test')) }
  const nobody = await attempt(server.port, healthWith(server, {}), namesake)
  t.equal(nobody.received, '', 'a terminator has to show its own certificate')
  const log = await server.stopAndReadLog()
  const changes = log.filter(({ msg }) => msg === 'client certificate changed')
  t.match(changes, [{ field: 'name', now: `CN=${WEST}` }])
  t.equal(changes.length, 1)
})

void t.test('each change is reported once', (t) => {
  const told: string[] = []
  const see = createCertificateWatch(({ field, before, now }) => {
    told.push(`${field}: ${before} -> ${now}`)
  })
  const meet = (subject: string, issuer: string, purposes = '1', result = 'OK') => {
    see({ result, shown: { subject, issuer, purposes } })
  }
  see({ result: 'NO_CERTIFICATE' })
  meet('east', 'Amazon')
  meet('east', 'Amazon')
  meet('west', 'Amazon')
  t.same(told, [], 'the first of each name is remembered')
  meet('east', 'Private')
  meet('east', 'Private')
  meet('east', 'Private', '1 2')
  meet('new', 'Private', '1', 'WRONG_SUBJECT')
  meet('new', 'Private', '1', 'WRONG_SUBJECT')
  t.same(told, ['issuer: Amazon -> Private', 'purpose: 1 -> 1 2', 'name:  -> new'])
  t.end()
})

void t.test('a different CA whose name contains the common name is reported', (t) => {
  const told: string[] = []
  const see = createCertificateWatch(({ field, before, now }) => {
    told.push(`${field}: ${before} -> ${now}`)
  })
  const meet = (subject: string, issuer: string, commonName: string | undefined = WEST) => {
    const name = commonName === '' ? {} : { commonName }
    see({ result: 'OK', shown: { ...name, subject, issuer, purposes: '1' } })
  }
  meet('O=Amazon\nCN=west', 'Amazon')
  meet('CN=west', '')
  meet('CN=west', '')
  meet('O=Amazon\nCN=west', 'Amazon')
  t.same(told, [], 'what a terminator reports is compared with its own reports')
  meet('O=AWS KMS\nCN=west', 'Private')
  meet('O=AWS KMS\nCN=west', 'Private')
  t.same(told, ['name: O=Amazon\nCN=west -> O=AWS KMS\nCN=west', 'issuer: Amazon -> Private'])
  meet('CN=a\nCN=b', 'Amazon', '')
  meet('CN=c\nCN=d', 'Amazon', '')
  t.equal(told.length, 2, 'without one common name, the whole subject is the name')
  t.end()
})
