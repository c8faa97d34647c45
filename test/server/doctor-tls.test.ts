/** Tests doctor's findings for certificates, TLS and the endpoint's address. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { checkAddress } from '../../src/tools/doctor/address.ts'
import {
  builtInAuthorities,
  loadAuthorities,
  matchAuthority,
} from '../../src/tools/doctor/authorities.ts'
import type { Finding } from '../../src/tools/doctor/finding.ts'
import { checkTls } from '../../src/tools/doctor/tls.ts'
import { sessionFor, startBrokenProxy, type Faults } from '../support/broken-proxy.ts'
import { SERVER_CERTIFICATE, newAuthority } from '../support/pki.ts'
import { issueEcCertificate } from '../support/handshake.ts'
import { startTestServer } from '../support/server.ts'

const DAY_MS = 86_400_000
const server = await startTestServer(t)
const { pki } = server

/** Writes a file that names the test authority in the format of AWS's list of authorities. */
function authoritiesFile(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-authorities-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true })
  })
  const { fingerprint256 } = new X509Certificate(readFileSync(pki.caFile))
  const file = join(folder, 'TrustedCertificateAuthorities')
  writeFileSync(
    file,
    [
      'Alias name: test',
      'Owner: CN="Latchkey, test", O=Example\\, Inc., C=ES',
      'Issuer: CN=Latchkey test CA',
      'Certificate fingerprints:',
      '\t SHA1: 00:11',
      `\t SHA256: ${fingerprint256}`,
      '*****',
    ].join('\n'),
  )
  return file
}

const byCheck = (findings: readonly Finding[]) =>
  Object.fromEntries(findings.map(({ check, verdict }) => [check, verdict]))

async function look(t: Test, faults: Faults) {
  const proxy = await startBrokenProxy(t, server, faults)
  return byCheck(await checkTls(proxy.session(), builtInAuthorities()))
}

void t.test('the real server, with its authority on the list', async (t) => {
  const session = sessionFor(server, server.port)
  t.teardown(() => {
    session.close()
  })
  const findings = await checkTls(session, await loadAuthorities(authoritiesFile(t)))
  t.same(
    findings.filter(({ verdict }) => verdict !== 'ok'),
    [],
  )
  t.match(findings.find(({ check }) => check === 'tls-authority')?.detail, /^Latchkey, test is on/)
  const suites = findings.find(({ check }) => check === 'tls-suites')?.detail ?? ''
  t.match(suites, /TLS_AES_256_GCM_SHA384 \(TLS 1\.3\).*TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384/)
})

void t.test('certificates with one thing wrong', async (t) => {
  const now = Date.now()
  const issue = (name: string, more: object) =>
    pki.issue(`doctor-${name}`, { ...SERVER_CERTIFICATE, ...more })
  const cases = [
    ['cn', { commonName: 'other.example.com' }, { 'tls-common-name': 'fail', 'tls-name': 'ok' }],
    ['wildcard', { commonName: '*.example.com' }, { 'tls-common-name': 'fail' }],
    ['name', { names: ['other.example.com'] }, { 'tls-name': 'fail', 'tls-common-name': 'ok' }],
    ['usage', { usage: 'client' }, { 'tls-usage': 'fail' }],
    ['old', { notAfter: new Date(now - DAY_MS) }, { 'tls-days': 'fail', 'tls-chain': 'fail' }],
    ['early', { notBefore: new Date(now + DAY_MS) }, { 'tls-days': 'fail', 'tls-chain': 'fail' }],
    ['soon', { notAfter: new Date(now + 5 * DAY_MS) }, { 'tls-days': 'warn', 'tls-chain': 'ok' }],
  ] as const
  for (const [name, more, expected] of cases) {
    const verdicts = await look(t, { files: await issue(name, more) })
    t.match(verdicts, expected, name)
    // AWS's list of authorities dates from 2022, so a missing authority causes a warning, not a failure.
    t.equal(verdicts['tls-authority'], 'warn', 'and its authority is not on the list of AWS')
  }
})

void t.test('a chain from an unknown CA', async (t) => {
  const stranger = await newAuthority('A stranger')
  const files = await pki.issue('doctor-stranger', SERVER_CERTIFICATE, stranger)
  t.match(await look(t, { files }), { 'tls-chain': 'fail', 'tls-authority': 'warn' })
})

void t.test('keys: RSA of 4,096 bits costs time, P-256 is fine', async (t) => {
  const at = (name: string) => join(pki.folder, name)
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'rsa:4096', '-nodes', '-days', '30', '-subj', '/CN=localhost'],
    ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', at('rsa4096.key')],
    ...['-out', at('rsa4096.crt')],
  ])
  const large = { certificateFile: at('rsa4096.crt'), privateKeyFile: at('rsa4096.key') }
  t.match(await look(t, { files: large }), { 'tls-key': 'warn', 'tls-usage': 'warn' })
  const files = await issueEcCertificate(pki, 'doctor-ec')
  t.match(await look(t, { files }), { 'tls-key': 'ok', 'tls-chain': 'fail' })
})

void t.test('versions and suites that must not be accepted', async (t) => {
  const old = { minVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0', dhparam: 'auto' } as const
  t.match(await look(t, { tls: old }), { 'tls-old': 'warn', 'tls-weak': 'warn' })
  const weak = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA' } as const
  t.match(await look(t, { tls: weak }), {
    'tls-suites': 'fail',
    'tls-weak': 'warn',
    'tls-old': 'ok',
  })
})

void t.test('mTLS: requested, with and without a client certificate', async (t) => {
  const commonName = 'cks.kms.us-east-1.amazonaws.com'
  const files = await pki.issue('doctor-client', { commonName, usage: 'client' })
  const tls = { requestCert: true, rejectUnauthorized: true, ca: readFileSync(pki.caFile) }
  const proxy = await startBrokenProxy(t, server, { tls })
  const { remote } = proxy.session()
  const shown = {
    certificate: readFileSync(files.certificateFile, 'utf8'),
    privateKey: readFileSync(files.privateKeyFile, 'utf8'),
  }
  for (const [clientCertificate, verdict] of [
    [{}, 'warn'],
    [{ clientCertificate: shown }, 'ok'],
  ] as const) {
    const session = proxy.session()
    const with_ = {
      ...session,
      remote: { ...remote, endpoint: { ...remote.endpoint, ...clientCertificate } },
    }
    const findings = await checkTls(with_, builtInAuthorities())
    const found = findings.find(({ check }) => check === 'tls-client-certificate')
    t.equal(found?.verdict, verdict)
    t.match(found?.detail, /a client certificate is requested/)
    if (verdict === 'warn') t.match(JSON.stringify(found), `CN=${commonName};`)
  }
})

void t.test(
  "AWS's list: the built-in entries, and a chain that ends at a listed name",
  async (t) => {
    const list = builtInAuthorities()
    t.equal(list.byFingerprint.size, 130)
    for (const [digest, name] of list.byFingerprint)
      t.match(`${digest} ${name}`, /^[0-9a-f]{64} \S/)
    t.ok([...list.byFingerprint.values()].includes('Amazon Root CA 1'))
    const chain = [new X509Certificate(readFileSync(pki.certificateFile))]
    t.same(matchAuthority(chain, list), { kind: 'unlisted', issuer: 'Latchkey test CA' })
    const byFingerprint = new Map([['0'.repeat(64), 'Latchkey test CA']])
    t.equal(matchAuthority(chain, { byFingerprint, source: 'a test' }).kind, 'by-name')
    await t.rejects(loadAuthorities(pki.caFile), { code: 'INPUT_INVALID' })
  },
)

void t.test('addresses, ports and paths that KMS does not accept', async (t) => {
  const at = async (over: Parameters<typeof sessionFor>[2], port = 443) => {
    const session = sessionFor(server, port, over)
    return byCheck(await checkAddress(session.remote))
  }
  t.match(await at({ host: '127.0.0.1' }), { 'host-name': 'fail', port: 'ok', dns: 'ok' })
  t.match(await at({ host: '::1' }), { 'host-name': 'fail', dns: 'fail' })
  t.match(await at({ host: 'localhost' }, 8443), { 'host-name': 'warn', port: 'warn' })
  for (const uriPath of ['/kms/xks/v2', '/a b/kms/xks/v1', `/${'a'.repeat(120)}/kms/xks/v1`]) {
    t.match(await at({ uriPath }), { 'uri-path': 'fail' }, uriPath)
  }
  t.match(await at({ uriPath: '/kms/xks/v1' }), { 'uri-path': 'ok' })
})
