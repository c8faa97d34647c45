/** Tests that a key store's quota applies to the entire fleet, in equal shares. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { startServer } from '../../src/app/server.ts'
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import {
  CLIENT_TIMEOUT_MS,
  eventually,
  KEY_ID,
  REGION,
  startTestServer,
} from '../support/server.ts'

t.setTimeout(120_000)

const BURST = 40
/** The rate is low, so the bucket refills little during the test. */
const PER_SECOND = 2

void t.test('two servers together grant as much as one alone', async (t) => {
  const quota = { requestsPerSecond: PER_SECOND, burst: BURST }
  const server = await startTestServer(t, {
    config: { keyStores: [{ name: 'demo', prefix: '/demo', quota }] },
  })
  const second = await startServer(server.config, { logFile: server.logFile })
  t.teardown(() => second.stop())
  const clients = [server.port, second.xks.port].map((port) =>
    createKmsSideClient({
      endpoint: `https://localhost:${String(port)}`,
      uriPath: server.uriPath,
      accessKeyId: server.credential.accessKeyId,
      secretAccessKey: server.credential.secretAccessKey,
      region: REGION,
      caFile: server.pki.caFile,
      timeoutMs: CLIENT_TIMEOUT_MS,
    }),
  )
  t.teardown(() => Promise.all(clients.map((client) => client.close())))
  // Wait until both instances have seen each other. GetHealthStatus does not count against the quota.
  await eventually(async () => {
    const answers = await Promise.all(clients.map((client) => client.getHealthStatus()))
    return answers.every(
      ({ body }) => (body as { xksProxyFleetSize: number }).xksProxyFleetSize === 2,
    )
  })
  const startedAt = performance.now()
  const grantedBy = await Promise.all(
    clients.map(async (client) => {
      const asked = Array.from({ length: BURST }, () =>
        client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) }),
      )
      return (await Promise.all(asked)).filter(({ status }) => status === 200).length
    }),
  )
  const seconds = (performance.now() - startedAt) / 1000
  const grown = Math.ceil(seconds * PER_SECOND) + 2
  for (const granted of grantedBy) {
    t.ok(granted >= BURST / 2, `${String(granted)} of ${String(BURST)}`)
    t.ok(granted <= BURST / 2 + grown, 'about half')
  }
  t.ok(grantedBy.reduce((sum, granted) => sum + granted, 0) <= BURST + grown)
})
