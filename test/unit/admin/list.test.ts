/** Tests that a long list is sent in pieces, and arrives as one JSON document. */
// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream'
import t from 'tap'
import { loadPages } from '../../../src/admin/client/pages.ts'
import { parsePage, takePage } from '../../../src/admin/paging.ts'
import { okList } from '../../../src/admin/route.ts'

async function piecesOf(items: readonly unknown[], fields?: Readonly<Record<string, unknown>>) {
  const { status, body } = okList('keys', items, fields)
  t.equal(status, 200)
  if (!(body instanceof Readable)) throw new TypeError('the body is not a stream')
  const pieces: string[] = []
  for await (const piece of body) pieces.push(String(piece))
  return pieces
}

void t.test('a list of any length arrives as a whole', async (t) => {
  for (const length of [0, 1, 199, 200, 201, 1000]) {
    const keys = Array.from({ length }, (_, i) => ({ keyId: `key-${String(i)}`, text: '"é' }))
    t.same(JSON.parse((await piecesOf(keys)).join('')), { keys })
    const fields = { warnings: ['one', 'two'] }
    t.same(JSON.parse((await piecesOf(keys, fields)).join('')), { keys, ...fields })
  }
})

void t.test('no piece has more than two hundred items', async (t) => {
  const pieces = await piecesOf(Array.from({ length: 1000 }, () => '*'))
  t.equal(pieces.join('').split('*').length, 1001)
  for (const piece of pieces) t.ok(piece.split('*').length <= 201)
})

void t.test('pages of a list in memory go by the key, whatever order the list has', (t) => {
  const query = (text: string) => parsePage(new URLSearchParams(text), 'words', (word) => word)
  const words = ['b', 'B', 'ä', 'a', 'c 0000000010', 'c 0000000002']
  const self = (word: string) => word
  const found: string[] = []
  let cursor = ''
  for (;;) {
    const page = query(`limit=2${cursor}`)
    const items = takePage(page, words, self)
    found.push(...items.slice(0, 2))
    if (items.length < 3) break
    const last = JSON.stringify(['words', found.at(-1)])
    cursor = `&cursor=${Buffer.from(last).toString('base64url')}`
  }
  t.same(found, [...words].sort())
  t.end()
})

void t.test('a client refuses a page that names an earlier one as the next', async (t) => {
  const cursors = ['a', 'b', undefined]
  const pages = await loadPages(({ cursor }) => {
    const nextCursor = cursors[cursors.indexOf(cursor) === 2 ? 0 : cursors.indexOf(cursor) + 1]
    return Promise.resolve(nextCursor === undefined ? {} : { nextCursor })
  })
  t.same(pages, [{ nextCursor: 'a' }, { nextCursor: 'b' }, {}])
  for (const cycle of [['a'], ['a', 'b']]) {
    let calls = 0
    const endless = loadPages(() => {
      const nextCursor = cycle[calls++ % cycle.length] ?? ''
      return Promise.resolve({ nextCursor })
    })
    await t.rejects(endless, { message: /found an earlier one/ })
    t.equal(calls, cycle.length + 1)
  }
})
