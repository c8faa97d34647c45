/** Tests that the round trip in `quickstart` retries in the same cases as KMS. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startServer } from '../../src/app/server.ts'
import { loadConfig } from '../../src/config/load.ts'
import { prepareDemo } from '../../src/tools/demo/demo.ts'
import { roundTrip } from '../../src/tools/demo/round-trip.ts'

void t.test('a quota of one request at a time only makes it slower', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-demo-'))
  const demo = await prepareDemo(folder, 0)
  const config = await loadConfig(demo.configFile)
  const keyStores = config.keyStores.map((one) => ({
    ...one,
    quota: { requestsPerSecond: 2, burst: 1 },
  }))
  const limits = { ...config.limits, requestDeadlineMs: 20_000 }
  const logFile = join(folder, 'latchkey.log')
  const server = await startServer({ ...config, keyStores, limits }, { logFile })
  t.teardown(async () => {
    await server.stop()
    await rm(folder, { recursive: true })
  })
  const steps = await roundTrip(demo, server.xks.port)
  t.same(
    steps.map(({ name, status }) => [name, status]),
    ['GetHealthStatus', 'GetKeyMetadata', 'Encrypt', 'Decrypt'].map((name) => [name, 200]),
  )
  await server.stop()
  const log = await readFile(logFile, 'utf8')
  t.match(log, /"errorName":"ThrottlingException"/, 'it was throttled')
})
