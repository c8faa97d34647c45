/** Tests the buffer that passes entries to the audit log's thread: its contents, and when its memory is reused. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { decodeBundle, MAX_ENTRY_BYTES } from '../../../src/audit/log/tiles.ts'
import { EntryBuffer, type EntryRange, SLAB_BYTES } from '../../../src/audit/writer/entry-buffer.ts'

const textsOf = ({ bytes }: EntryRange) =>
  decodeBundle(Buffer.from(bytes))?.map((entry) => entry.toString())

const longest = (fill: string) => fill.repeat(MAX_ENTRY_BYTES)

function take(buffer: EntryBuffer): EntryRange {
  const range = buffer.take()
  if (range === undefined) throw new Error('the buffer holds no entries')
  return range
}

void t.test('a range has the entries added since the one before, as in a bundle', (t) => {
  const buffer = new EntryBuffer()
  t.equal(buffer.take(), undefined)
  t.ok(buffer.add('one') && buffer.add('zwölf \u{1f600}'))
  const first = take(buffer)
  t.ok(buffer.add('three'))
  const second = take(buffer)
  t.same([textsOf(first), first.count], [['one', 'zwölf \u{1f600}'], 2])
  t.same([textsOf(second), second.count], [['three'], 1])
  t.ok(first.bytes.buffer instanceof SharedArrayBuffer, 'a message does not copy it')
  t.equal(buffer.take(), undefined)
  t.end()
})

void t.test('an entry of the greatest length fits, and a longer one is refused', (t) => {
  const buffer = new EntryBuffer()
  t.ok(buffer.add(longest('x')))
  t.notOk(buffer.add(`${longest('x')}y`))
  t.notOk(buffer.add('\u20ac'.repeat(MAX_ENTRY_BYTES / 3 + 1)), 'the length counts bytes')
  t.ok(buffer.add('\u20ac'.repeat(MAX_ENTRY_BYTES / 3)))
  const range = take(buffer)
  t.same(textsOf(range), [longest('x'), '\u20ac'.repeat(MAX_ENTRY_BYTES / 3)])
  t.end()
})

void t.test('memory is reused only once the thread has acknowledged all of its ranges', (t) => {
  const buffer = new EntryBuffer()
  buffer.add('first')
  const first = take(buffer)
  buffer.add('second')
  const second = take(buffer)
  buffer.release(first)
  buffer.add('third')
  const third = take(buffer)
  t.same([first, second, third].map(textsOf), [['first'], ['second'], ['third']])
  t.ok(third.bytes.byteOffset > second.bytes.byteOffset)
  buffer.release(second)
  buffer.add('fourth')
  buffer.release(third)
  t.same(textsOf(take(buffer)), ['fourth'], 'entries that no range has named are kept')
  t.same(textsOf(third), ['third'])
  t.end()
})

void t.test('memory without ranges in flight is used from its beginning again', (t) => {
  const buffer = new EntryBuffer(1)
  for (let i = 0; i < 100; i++) {
    t.ok(buffer.fits(longest('x')) && buffer.add(longest(String(i % 10))))
    const range = take(buffer)
    t.equal(range.bytes.byteOffset, 0)
    buffer.release(range)
  }
  t.end()
})

void t.test('full memory refuses entries until a range is released', (t) => {
  const buffer = new EntryBuffer(2)
  const ranges: EntryRange[] = []
  const fill = () => {
    let added = 0
    for (; ; added++) {
      if (!buffer.fits(longest('x'))) ranges.push(take(buffer))
      if (!buffer.add(longest('x'))) return added
    }
  }
  const perSlab = Math.floor(SLAB_BYTES / (MAX_ENTRY_BYTES + 2))
  t.equal(fill(), 2 * perSlab)
  t.equal(ranges.length, 2)
  t.notOk(buffer.add(longest('x')))
  t.ok(buffer.add(longest('z'), true), 'an exempt entry gets memory of its own')
  t.same(textsOf(take(buffer)), [longest('z')])
  const [first, second] = ranges
  if (first === undefined || second === undefined) throw new Error('two slabs make two ranges')
  buffer.release(first)
  t.ok(buffer.add('again'))
  t.equal(textsOf(second)?.length, perSlab, 'the other range is untouched')
  t.same(textsOf(take(buffer)), ['again'])
  t.end()
})

void t.test('an entry that does not fit behind the others waits until they are taken', (t) => {
  const buffer = new EntryBuffer(2)
  while (buffer.fits(longest('x'))) t.ok(buffer.add(longest('x')))
  t.notOk(buffer.add(longest('y')), 'nothing is added out of order')
  const full = take(buffer)
  t.ok(buffer.add(longest('y')))
  t.same(textsOf(take(buffer)), [longest('y')])
  t.ok(textsOf(full)?.every((text) => text === longest('x')))
  t.end()
})
