/** Tests that revoked credentials are removed before the other credentials are unwrapped. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { CredentialChanges } from '../../../src/sigv4/credential.ts'
import { followCredentials } from '../../../src/sigv4/credential-table.ts'
import type { Row } from '../../../src/store/database.ts'
import type { TableChange } from '../../../src/store/feed.ts'
import { CREDENTIALS } from '../../../src/store/sealed-tables.ts'
import { storeFolder } from '../../support/store.ts'

const row = (id: string, more: Row = {}): Row => ({
  ...{ access_key_id: id, key_store: 'demo', secret: 'wrapped', created_at: 1 },
  ...{ expires_at: null, revoked_at: null, ...more },
})

void t.test('a revocation does not wait behind other credentials', async (t) => {
  const store = await (await storeFolder(t)).open()
  let unwrapped = 0
  const put = [
    ...Array.from({ length: 300 }, (_, i) => row(`A${String(i)}`)),
    row('REVOKED', { secret: null, revoked_at: 2 }),
  ]
  const change: TableChange = { table: CREDENTIALS, put, removed: [['REMOVED']], isReset: true }
  const follow = followCredentials({
    ...store,
    feed: (...tables) => ({
      ...store.feed(...tables),
      update: async (apply) => {
        await apply([change])
      },
    }),
    sealing: {
      ...store.sealing,
      unwrap: () => {
        unwrapped += 1
        return Buffer.alloc(43, 's')
      },
    },
  })
  const applied: (CredentialChanges & { readonly unwrapped: number })[] = []
  await follow((changes) => {
    applied.push({ ...changes, unwrapped })
    return Promise.resolve()
  })
  t.match(applied, [
    { isReset: false, put: [], removed: ['REMOVED', 'REVOKED'], unwrapped: 0 },
    { isReset: true, unwrapped: 300 },
  ])
})
