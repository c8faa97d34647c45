/** Calls the server with curl --aws-sigv4, as shown in the README. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import t from 'tap'
import { curl } from '../support/curl.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { encryptBody, requestMetadata } from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const HEALTH = {
  requestMetadata: { kmsRequestId: randomUUID(), kmsOperation: 'KmsHealthCheck' },
}

for (const http of ['1.1', '2'] as const) {
  void t.test(`curl is accepted over HTTP/${http}`, async (t) => {
    const server = await startTestServer(t)
    const health = await curl(t, server, { path: '/health', body: HEALTH, http })
    t.equal(health.status, 200)
    t.equal(health.http, http)
    t.equal(health.json['xksProxyVendor'], 'Latchkey')

    const plaintext = Buffer.from('thirty-two bytes of a data key!!').toString('base64')
    const body = encryptBody({ plaintext })
    const encrypted = await curl(t, server, { path: ENCRYPT, body, http })
    t.equal(encrypted.status, 200)
    const decrypted = await curl(t, server, {
      path: `/keys/${KEY_ID}/decrypt`,
      body: {
        ...encrypted.json,
        requestMetadata: requestMetadata('Decrypt'),
        encryptionAlgorithm: 'AES_GCM',
      },
      http,
    })
    t.equal(decrypted.status, 200)
    t.equal(decrypted.http, http)
    t.same(decrypted.json, { plaintext })
  })

  void t.test(`curl with another secret is refused over HTTP/${http}`, async (t) => {
    const server = await startTestServer(t)
    const answer = await curl(t, server, {
      path: ENCRYPT,
      body: encryptBody(),
      http,
      secretAccessKey: 'x'.repeat(43),
    })
    t.equal(answer.status, 401)
    t.equal(answer.http, http)
    t.equal(answer.json['errorName'], 'AuthenticationFailedException')
    t.same(Object.keys(answer.json).sort(), ['errorMessage', 'errorName'])
    const log = await server.stopAndReadLog()
    t.same(
      log.flatMap((line) => ('reason' in line ? [line['reason']] : [])),
      ['SIGNATURE_MISMATCH'],
    )
  })

  void t.test(`curl's additional headers are signed and accepted over HTTP/${http}`, async (t) => {
    const server = await startTestServer(t)
    const more = ['--header', 'X-Trace: a b', '--header', 'Accept: application/json']
    const answer = await curl(t, server, { path: '/health', body: HEALTH, http, more })
    t.equal(answer.status, 200)
  })

  void t.test(`a session token that curl signs is refused over HTTP/${http}`, async (t) => {
    const server = await startTestServer(t)
    const more = ['--header', 'X-Amz-Security-Token: token']
    const answer = await curl(t, server, { path: '/health', body: HEALTH, http, more })
    t.equal(answer.status, 401)
    const log = await server.stopAndReadLog()
    t.same(
      log.flatMap((line) => ('reason' in line ? [line['reason']] : [])),
      ['TOKEN_REFUSED'],
    )
  })
}
