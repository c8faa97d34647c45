/** Runs the checks that must pass behind every terminator that is configured as in docker/terminators. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { attempt, EAST, issueClient, only, show, WEST, type Files } from './client-certificate.ts'
import { newAuthority } from './pki.ts'
import { KEY_ID, type TestServer } from './server.ts'
import { startTerminated, type Terminator } from './terminator.ts'
import { requestMetadata, signedRequest } from './wire.ts'

/** Returns a signed health request with additional `headers` that the signature does not cover. */
export function healthWith(server: TestServer, headers: Readonly<Record<string, string>>): Buffer {
  const body = { requestMetadata: requestMetadata('KmsHealthCheck') }
  return signedRequest(server, '/health', body, {
    headers: { Connection: 'close', ...headers },
    leftUnsigned: Object.keys(headers).map((name) => name.toLowerCase()),
  })
}

/** All headers that a client could use to claim to be KMS. */
export const FORGED = {
  'X-Client-Subject': `CN=${EAST}`,
  'X-Client-Verify': 'SUCCESS',
  'X-Forwarded-Client-Cert': `Hash=00;Subject="CN=${EAST}"`,
}

const AUTHENTICATION_FAILED = /^HTTP\/1\.1 401 .*"errorName":"AuthenticationFailedException"/s

export async function tellTerminated(t: Test, terminator: Terminator): Promise<void> {
  const { server, port } = await startTerminated(t, terminator)
  const good = await issueClient('story-good')
  const requests: Record<string, unknown>[] = []
  const call = async (files: Files | undefined, headers: Record<string, string> = {}) =>
    (
      await attempt(port, healthWith(server, headers), {
        ...(files === undefined ? {} : show(files)),
        ALPNProtocols: ['http/1.1'],
      })
    ).received

  const client = server.client({
    endpoint: `https://localhost:${String(port)}`,
    clientCertificate: good,
    localAddress: '127.0.0.9',
  })
  const plaintext = Buffer.alloc(4300, 7)
  const aad = Buffer.alloc(8192, 1)
  const sealed = await client.encrypt(KEY_ID, { plaintext, aad, cdiv: true })
  t.equal(sealed.status, 200, 'a signed Encrypt')
  const parts = sealed.body as Record<string, string>
  const part = (name: string) => Buffer.from(parts[name] ?? '', 'base64')
  const opened = await client.decrypt(KEY_ID, {
    aad,
    ciphertext: part('ciphertext'),
    ciphertextMetadata: part('ciphertextMetadata'),
    initializationVector: part('initializationVector'),
    authenticationTag: part('authenticationTag'),
  })
  t.match(opened, { status: 200, body: { plaintext: plaintext.toString('base64') } }, 'a Decrypt')
  requests.push({ status: 200, operation: 'Encrypt' }, { status: 200, operation: 'Decrypt' })

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const bytes = healthWith(server, {})
    const { received } = await attempt(port, bytes, { ...show(good), ...only(version) })
    t.match(received, /^HTTP\/1\.1 200 /, version)
    requests.push({ status: 200 })
  }

  const other = await issueClient('story-other', { commonName: WEST })
  t.match(await call(other), AUTHENTICATION_FAILED, 'a certificate for another region')
  requests.push({ status: 401, reason: 'FORWARDED_SUBJECT' })
  t.match(await call(other, FORGED), AUTHENTICATION_FAILED, 'that claims to be of this one')
  requests.push({ status: 401, reason: 'FORWARDED_SUBJECT' })
  t.match(await call(good, FORGED), /^HTTP\/1\.1 200 /, 'what is forged is replaced')
  requests.push({ status: 200 })

  const stranger = await issueClient('story-stranger', {}, await newAuthority('Another CA'))
  for (const files of [stranger, undefined]) {
    const received = await call(files, FORGED)
    t.notMatch(received, /"xksProxyFleetSize"|errorName/, 'no word of Latchkey')
    t.notMatch(received, /^HTTP\/1\.1 200 /)
  }

  const unsigned = healthWith(server, {})
    .toString('latin1')
    .replace(/Signature=.{8}/, 'Signature=00000000')
  t.match(
    (await attempt(port, unsigned, show(good))).received,
    AUTHENTICATION_FAILED,
    'no signature',
  )
  requests.push({ status: 401, reason: 'SIGNATURE_MISMATCH' })

  const log = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
  t.match(log, requests, 'each has its line, and nobody else has one')
  t.equal(log.length, requests.length)
  t.equal(log[0]?.['remoteAddress'], terminator.isProxy ? '127.0.0.9' : '127.0.0.1')
}
