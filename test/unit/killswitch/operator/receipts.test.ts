/** Tests that the search for receipts reads a bounded part of the log. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { listReceipts } from '../../../../src/killswitch/receipt/receipt.ts'
import { appendEvent } from '../../../../src/store/event-log.ts'
import { storeFolder } from '../../../support/store.ts'

void t.test('only the newest events are searched', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const event = { at: 1, epoch: 1, operator: 'o' }
  await store.change(async (transaction) => {
    const append = (kind: string, id: string) =>
      appendEvent(transaction, store.sealing, { ...event, kind, detail: { statement: { id } } })
    await append('revoked', 'old')
    for (let i = 0; i < 1000; i++) await append('routine', '')
    await append('revoked', 'new')
  })
  let rows = 0
  const counted: typeof store = {
    ...store,
    database: {
      ...store.database,
      snapshot: (work) =>
        store.database.snapshot((reader) =>
          work({
            async query(sql, parameters) {
              const found = await reader.query(sql, parameters)
              rows += found.length
              return found
            },
          }),
        ),
    },
  }
  const isVisible = () => true
  const idsOf = async (examined?: number) => {
    const query = { count: 100, isVisible, ...(examined === undefined ? {} : { examined }) }
    return (await listReceipts(counted, query)).map(({ statement }) => statement.id)
  }
  t.same(await idsOf(), ['new', 'old'])
  t.ok(rows > 1000)
  rows = 0
  t.same(await idsOf(300), ['new'])
  t.ok(rows < 600, String(rows))
})
