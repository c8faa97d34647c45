/** Tests what `rotate-credentials` waits for: uses of a credential on any instance in the fleet. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createKmsSideClient } from '../../src/kms/client/client.ts'
import { latchkeyHere } from '../support/cli.ts'
import { startFleet } from '../support/fleet.ts'
import { CLIENT_TIMEOUT_MS, eventually, REGION } from '../support/server.ts'

interface Listed {
  readonly accessKeyId: string
  readonly uses: number
  readonly lastUsedAt?: string | number
}

void t.test("a credential's uses and last use are counted across the entire fleet", async (t) => {
  const fleet = await startFleet(t, { members: 2, workers: 1, flushInterval: '200ms' })
  const { credential } = fleet
  const list = async () => {
    const words = ['credentials', 'list', '--json', '--config', fleet.configFile]
    const { code, stdout, stderr } = await latchkeyHere(words)
    if (code !== 0) throw new Error(stderr)
    const [listed] = JSON.parse(stdout) as readonly Listed[]
    return listed
  }
  const ask = async (member: number, times: number) => {
    const client = createKmsSideClient({
      endpoint: `https://localhost:${String(fleet.members[member]?.port)}`,
      uriPath: '/demo/kms/xks/v1',
      accessKeyId: credential.accessKeyId,
      secretAccessKey: credential.secretAccessKey,
      region: REGION,
      caFile: fleet.pki.caFile,
      timeoutMs: CLIENT_TIMEOUT_MS,
    })
    for (let i = 0; i < times; i++) t.equal((await client.getHealthStatus()).status, 200)
    await client.close()
  }
  t.match(await list(), { accessKeyId: credential.accessKeyId, uses: 0 })
  await Promise.all([ask(0, 3), ask(1, 4)])
  await eventually(async () => (await list())?.uses === 7)
  const before = new Date((await list())?.lastUsedAt ?? '').getTime()
  // The list command runs with the first member's configuration, so send this request to the other member.
  const at = Date.now()
  await ask(1, 1)
  await eventually(async () => (await list())?.uses === 8)
  const after = new Date((await list())?.lastUsedAt ?? '').getTime()
  t.ok(before < at && after >= at, 'and the last use is that of another instance')
})
