/** Tests a running server's usage counters, and that stopping the server loses no counts. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  loadActivity,
  loadCredentialUses,
  toPeriod,
  type Activity,
} from '../../src/usage/usage-table.ts'
import { systemClock } from '../../src/core/clock.ts'
import { openStore } from '../../src/store/store.ts'
import { KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import { call, decryptBody, encryptBody } from '../support/wire.ts'
import { toStoreOptions } from '../../src/app/store.ts'

async function look(server: TestServer) {
  const store = await openStore(await toStoreOptions(server.config))
  try {
    const now = systemClock.now()
    const period = toPeriod({ since: now - 1_800_000, until: now + 60_000 }, now)
    return await store.database.snapshot(async (reader) => ({
      activity: await loadActivity(reader, period),
      uses: await loadCredentialUses(reader),
    }))
  } finally {
    await store.close()
  }
}

function requestsOf(activity: readonly Activity[], operation: string, outcome: string): number {
  return activity
    .filter(({ subject }) => subject.operation === operation && subject.outcome === outcome)
    .reduce((sum, { requests }) => sum + requests, 0)
}

void t.test('a clean shutdown writes every counted request, including refusals', async (t) => {
  const server = await startTestServer(t, { config: { activity: { flushInterval: '10m' } } })
  const { json } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  for (let n = 0; n < 5; n++) await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(json))
  await call(server, '/keys/none/decrypt', decryptBody(json))
  t.same((await look(server)).activity, [], 'nothing waits for the store')
  await server.stop()
  const { activity, uses } = await look(server)
  t.equal(requestsOf(activity, 'Encrypt', 'ok'), 1)
  t.equal(requestsOf(activity, 'Decrypt', 'ok'), 5)
  t.equal(requestsOf(activity, 'Decrypt', 'KEY_NOT_FOUND'), 1)
  const [decrypt] = activity
  t.match(decrypt?.subject, { keyStore: 'demo', keyId: KEY_ID, kmsOperation: 'Decrypt' })
  t.match(decrypt?.subject.principal, /^arn:aws:/)
  t.equal(uses.get(server.credential.accessKeyId)?.uses, 7)
})

void t.test('a running server writes in the background, and more than once', async (t) => {
  const server = await startTestServer(t, { config: { activity: { flushInterval: '100ms' } } })
  const sent = async (n: number) => {
    await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
    await eventually(async () => {
      const { activity } = await look(server)
      return requestsOf(activity, 'Encrypt', 'ok') === n
    })
  }
  await sent(1)
  await sent(2)
  t.pass('both were written while it runs')
})

void t.test('unsigned requests leave no trace in the counts', async (t) => {
  const server = await startTestServer(t)
  const stranger = server.client({ accessKeyId: 'AAAAAAAAAAAAAAAAAAAAAAAAAA' })
  const answer = await stranger.getHealthStatus()
  t.equal(answer.status, 401)
  await server.stop()
  const { activity, uses } = await look(server)
  t.same(activity, [])
  t.equal(uses.size, 0)
})
