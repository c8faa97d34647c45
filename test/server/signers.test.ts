/** Tests requests signed by other implementations against a real server. */
// SPDX-License-Identifier: Apache-2.0
import { Sha256 } from '@aws-crypto/sha256-js'
import { SignatureV4 } from '@smithy/signature-v4'
import t from 'tap'
import { KEY_ID, REGION, startTestServer, type TestServer } from '../support/server.ts'
import {
  call,
  encryptBody,
  exchange,
  requestBytes,
  signedRequest,
  type Answer,
} from '../support/wire.ts'

const PATH = `/keys/${KEY_ID}/encrypt`

/** Signs with Smithy's signer, which the AWS SDKs use. `applyChecksum` adds the body's hash. */
async function callBySmithy(
  server: TestServer,
  applyChecksum: boolean,
  secretAccessKey = server.credential.secretAccessKey.reveal(),
): Promise<Answer> {
  const signer = new SignatureV4({
    credentials: { accessKeyId: server.credential.accessKeyId, secretAccessKey },
    region: REGION,
    service: 'kms-xks-proxy',
    sha256: Sha256,
    applyChecksum,
  })
  const target = `${server.uriPath}${PATH}`
  const body = JSON.stringify(encryptBody())
  const { headers } = await signer.sign({
    method: 'POST',
    protocol: 'https:',
    hostname: 'localhost',
    path: target,
    headers: {
      host: `localhost:${String(server.port)}`,
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
    },
    body,
  })
  return exchange(server, requestBytes({ target, headers }, body))
}

void t.test('aws4 is accepted, and refused with another secret', async (t) => {
  const server = await startTestServer(t)
  t.equal((await call(server, PATH, encryptBody())).status, 200)
  const refused = await call(server, PATH, encryptBody(), { secretAccessKey: 'x'.repeat(43) })
  t.equal(refused.status, 401)
  t.equal(refused.json['errorName'], 'AuthenticationFailedException')
})

void t.test('@smithy/signature-v4 is accepted, and refused with another secret', async (t) => {
  const server = await startTestServer(t)
  for (const applyChecksum of [true, false]) {
    const answer = await callBySmithy(server, applyChecksum)
    t.equal(answer.status, 200)
    t.match(answer.json, { ciphertext: String, authenticationTag: String })
    const refused = await callBySmithy(server, applyChecksum, 'x'.repeat(43))
    t.equal(refused.status, 401)
    t.equal(refused.json['errorName'], 'AuthenticationFailedException')
  }
})

void t.test('a valid request with one byte changed in transit is refused', async (t) => {
  const server = await startTestServer(t)
  const body = JSON.stringify(encryptBody())
  const good = await call(server, PATH, body)
  t.equal(good.status, 200)
  const changed = body.replace('AES_GCM', 'AES_GCN')
  const answer = await exchangeSwapped(server, body, changed)
  t.equal(answer.status, 401)
  t.equal(answer.json['errorName'], 'AuthenticationFailedException')
})

/** Signs a request for one body, and sends another body of the same length. */
function exchangeSwapped(server: TestServer, signed: string, sent: string): Promise<Answer> {
  const bytes = signedRequest(server, PATH, signed)
  const head = bytes.subarray(0, bytes.length - Buffer.byteLength(signed))
  return exchange(server, Buffer.concat([head, Buffer.from(sent)]))
}
