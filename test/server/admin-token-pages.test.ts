/** Tests pages of keys on a SoftHSM token, over the admin listener. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { call, startWithAdmin, token } from '../support/admin.ts'
import { checkPages, follow, type Item, itemsOf } from '../support/pages.ts'
import { backendYaml } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(180_000)

const admin = { token: token('admin') }
const keys = '/admin/v1/keys/demo'

void t.test('pages of keys on a token contain the same as the whole list', async (t) => {
  const softhsm = await createSoftHsm(t)
  const server = await startWithAdmin(t, {
    keyStores: [{ name: 'demo', prefix: '/demo', backend: 'hsm', keyPrefix: 'own-' }],
    backends: [backendYaml(softhsm, { deadlines: { operation: '5s', start: '60s' } })],
    limits: { requestDeadline: '10s' },
  })
  const both = { canEncrypt: true, canDecrypt: true }
  await createTokenKeys(
    t,
    softhsm,
    [5, 3, 1, 4, 2].flatMap((i) => [
      { label: `own-key-${String(i)}`, ...both },
      { label: `other-key-${String(i)}`, ...both },
      // No list contains keys for other algorithms, so a page must not be shorter for them.
      { label: `own-key-${String(i)}-hmac`, type: 'generic', ...both },
    ]),
  )
  await eventually(async () => {
    const { body } = await call(server, 'GET', keys, admin)
    return (body['keys'] as readonly Item[]).length >= 5
  })
  const rotated = await call(server, 'POST', `${keys}/key-3`, {
    ...admin,
    body: { action: 'rotate' },
  })
  t.equal(rotated.status, 200, JSON.stringify(rotated.body))
  // Two keys that share a name are one item, with the reason why neither is used.
  await createTokenKeys(t, softhsm, [{ label: 'own-key-4', ...both }])
  await checkPages(t, server, keys, 'keys')
  const items = itemsOf(await follow(server, keys, 1), 'keys')
  t.match(
    items.filter((one) => /^key-[345]$/.test(String(one['keyId']))),
    [
      { keyId: 'key-3', versions: [{ version: 1 }, { version: 2 }] },
      { keyId: 'key-4', problem: { kind: 'AMBIGUOUS' } },
      { keyId: 'key-5' },
    ],
  )
})
