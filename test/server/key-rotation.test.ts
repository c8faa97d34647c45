/** Tests that a reload applies a changed key rotation schedule. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { eventually, startTestServer } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'

void t.test('a changed rotateEvery takes effect without a restart', async (t) => {
  const server = await startTestServer(t)
  const { config, running, administration } = server
  const versions = async () =>
    (await administration.keys(keyStoreName('demo')).listKeys())[0]?.versions
  t.equal((await versions())?.length, 1)
  const keyStores = config.keyStores.map((one) => ({ ...one, rotateEveryMs: 1 }))
  t.same(await running.apply({ ...config, keyStores }), [])
  await eventually(async () => (await versions())?.length === 2)
})
