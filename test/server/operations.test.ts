/** The four operations, as KMS calls them. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { call, encryptBody } from '../support/wire.ts'

void t.test('[API-1] what Encrypt made, Decrypt opens', async (t) => {
  const server = await startTestServer(t)
  const { status, json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  t.equal(status, 200)
  t.match(json, { ciphertext: String, initializationVector: String })
  const health = await server.client().getHealthStatus()
  t.equal(health.status, 200)
})
