/** Tests that buffered lines are written completely, unbroken and in order. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { LineBuffer } from '../../../src/observability/log.ts'

function collect(blockBytes: number) {
  const blocks: Buffer[] = []
  const lines = new LineBuffer({ write: (block) => blocks.push(block) }, blockBytes)
  return { blocks, lines }
}

void t.test('lines come out as they went in, whatever their lengths and characters', (t) => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 80 })), (texts) => {
      const { blocks, lines } = collect(64)
      for (const text of texts) lines.write(`${text}\n`)
      lines.handOver()
      const expected = Buffer.from(texts.map((text) => `${text}\n`).join(''))
      t.ok(Buffer.concat(blocks).equals(expected))
    }),
    { numRuns: 300 },
  )
  t.end()
})

void t.test('lines of ASCII and others keep their order', (t) => {
  const ascii = fc.stringMatching(/^[ -~]{0,80}$/)
  const line = fc.oneof(
    ascii.map((text) => ({ text, isAscii: true })),
    fc.string({ unit: 'binary', maxLength: 80 }).map((text) => ({ text, isAscii: false })),
  )
  fc.assert(
    fc.property(fc.array(line), (written) => {
      const { blocks, lines } = collect(64)
      for (const { text, isAscii } of written) {
        if (isAscii) lines.writeAscii(text)
        else lines.write(`${text}\n`)
      }
      lines.handOver()
      const expected = Buffer.from(written.map(({ text }) => `${text}\n`).join(''))
      t.ok(Buffer.concat(blocks).equals(expected))
    }),
    { numRuns: 300 },
  )
  t.end()
})

void t.test('a block is never written to after it was handed over', (t) => {
  const { blocks, lines } = collect(32)
  lines.write('first\n')
  lines.handOver()
  lines.write('second\n')
  lines.handOver()
  lines.handOver()
  t.same(
    blocks.map((block) => block.toString()),
    ['first\n', 'second\n'],
  )
  t.end()
})

void t.test('every block ends with a whole line', (t) => {
  const { blocks, lines } = collect(100)
  for (let i = 0; i < 50; i++) lines.write(`line ${String(i)} ${'x'.repeat(i)}\n`)
  lines.handOver()
  t.ok(blocks.length > 10)
  for (const block of blocks) t.equal(block.at(-1), 10)
  t.end()
})
