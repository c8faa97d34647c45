/** Tests the scheduled rotation of software keys. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createKeyAdministration } from '../../../../src/keys/software/administration.ts'
import { rotateDueKeys } from '../../../../src/keys/software/scheduled-rotation.ts'
import { readEvents } from '../../../../src/store/event-log.ts'
import { keyId } from '../../../support/server.ts'
import { storeFolder } from '../../../support/store.ts'

const DAY = 86_400_000
const ORDER = { keyStore: 'demo', maxAgeMs: 90 * DAY }

void t.test('due keys get one new version, also when several processes look at once', async (t) => {
  const folder = await storeFolder(t)
  const { clock } = folder
  const store = await folder.open()
  const keys = createKeyAdministration(store, 'demo', clock)
  const both = { canEncrypt: true, canDecrypt: true }
  await keys.createKey({ keyId: keyId('old'), ...both })
  await keys.createKey({ keyId: keyId('disabled'), ...both })
  await keys.createKey({ keyId: keyId('archive'), canEncrypt: false, canDecrypt: true })
  await keys.setKeyStatus(keyId('disabled'), 'DISABLED')
  clock.advance(89 * DAY)
  await keys.createKey({ keyId: keyId('young'), ...both })
  t.same(await rotateDueKeys(store, clock, ORDER), [])
  clock.advance(DAY)
  const other = await folder.open()
  const found = await Promise.all([
    rotateDueKeys(store, clock, ORDER),
    rotateDueKeys(other, clock, ORDER),
  ])
  t.same(found.flat(), [{ keyId: 'old', version: 2 }])
  t.same(
    (await keys.listKeys()).map((key) => [key.keyId, key.versions.length]),
    [
      ['archive', 1],
      ['disabled', 1],
      ['old', 2],
      ['young', 1],
    ],
  )
  const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
  t.match(events.at(-1), { kind: 'key-rotated', operator: /^automatic: rotation on / })
  await store.audit()
})
