/** Tests which key ids a kill considers misspelled. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { ExternalKeyId } from '../../../../src/core/ids.ts'
import { TokenKeyTable } from '../../../../src/keys/pkcs11/token-key-table.ts'
import { warnIfKeyUnknown } from '../../../../src/killswitch/operator/stop.ts'
import { keyStoreName, storeFolder } from '../../../support/store.ts'

void t.test('a key that a server has seen on a token is known, unused or not', async (t) => {
  const store = await (await storeFolder(t)).open()
  const keyStore = keyStoreName('demo')
  const keyId = 'on-a-token' as ExternalKeyId
  const warn = (one: string) => warnIfKeyUnknown(store, { kind: 'key', keyStore, keyId: one })
  t.match(await warn(keyId), /no known key on-a-token: it was not created here, was not seen on a/)
  await store.change((transaction) =>
    new TokenKeyTable(transaction, store.sealing).recordFirst({
      ...{ keyStore, keyId, version: 1, check: '', seenAt: 0, reason: null, operator: null },
    }),
  )
  t.equal(await warn(keyId), undefined)
  t.match(await warn('on-a-tokn'), /no known key on-a-tokn/)
})
