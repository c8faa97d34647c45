/** Tests destroying a retired key version on a SoftHSM token, and the certificate that confirms it. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { withRetirement } from '../../src/app/retirement.ts'
import { reportVersions } from '../../src/retirement/retirement.ts'
import { putRetirement } from '../../src/retirement/retirement-table.ts'
import { latchkeyHere } from '../support/cli.ts'
import { KEY_ID, keyId, startTestServer } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'
import { backendYaml } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm } from '../support/pkcs11/tokens.ts'

t.setTimeout(180_000)

const DAY = 86_400_000
const actor = (operator: string) => ({ operator, identity: `os:${operator}` })

void t.test('keys shred destroys the object on the token', async (t) => {
  const softhsm = await createSoftHsm(t)
  const server = await startTestServer(t, {
    stopped: true,
    config: {
      keyStores: [{ name: 'demo', prefix: '/demo', backend: 'hsm' }],
      backends: [backendYaml(softhsm, { deadlines: { operation: '5s', start: '60s' } })],
    },
  })
  const demo = keyStoreName('demo')
  const id = keyId(KEY_ID)
  const name = { keyStore: 'demo', keyId: id, version: 1 }
  await withRetirement(server.config, demo, async (deps) => {
    const { store, keys } = deps
    await keys.rotateKey(id)
    await reportVersions(deps, 'demo', id)
    const begin = Date.now() - 60 * DAY
    await store.database.transaction((transaction) =>
      transaction.execute(
        'UPDATE ledger_writers SET started_at = ?, flushed_at = ?, ended_at = ?',
        [begin, begin, begin],
      ),
    )
    await store.change((transaction) =>
      putRetirement(transaction, store.sealing, {
        ...{ ...name, reason: 'r', requestedBy: actor('alice'), requestedAt: Date.now() - 9 * DAY },
        ...{ quietForMs: 30 * DAY, waitForMs: 7 * DAY },
        approval: { ...actor('bob'), at: Date.now() - 8 * DAY },
      }),
    )
  })
  const run = (...words: readonly string[]) =>
    latchkeyHere([...words, '--config', server.configFile], {})
  const shred = await run('keys', 'shred', KEY_ID, '1', '--yes', '--operator', 'carol')
  t.match(JSON.parse(shred.stdout), {
    statement: { keyManager: 'token', version: 1, destroyedBy: { operator: 'carol' } },
  })
  const listed = await run('keys', 'list', '--json')
  t.match(JSON.parse(listed.stdout), [{ keyId: KEY_ID, versions: [{ version: 2 }] }])
  t.match(await run('keys', 'shred', KEY_ID, '1', '--yes'), { code: 1, stderr: /was destroyed/ })
})
