/**
 * Tests that the add-on and node:crypto give the same codes, elements, sums and verdicts for rows of sealed tables, and that the
 * program verifies rows without the add-on.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t from 'tap'
import type { Row, SqlValue } from '../../src/store/database.ts'
import { encodeRows } from '../../src/store/encoding.ts'
import {
  createRowKey,
  ELEMENT_BYTES,
  missingRowCodes,
  toBytes,
  toNumber,
  verifyRows,
} from '../../src/store/row-codes/row-codes.ts'
import { createSealing, createSealingOf } from '../../src/store/sealing.ts'

const TABLE = 'some_table'
const COLUMNS = ['a', 'b', 'c']
const MODULUS = 2n ** 256n
const CASES = { numRuns: 300 }

const value: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.constant(null),
  fc.maxSafeInteger(),
  fc.string(),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.string({ minLength: 120, maxLength: 140 }),
  fc.uint8Array({ maxLength: 20 }),
)
const fieldsOfRows = fc.array(fc.tuple(value, value, value), { maxLength: 12 })
/** Rows that only have what `encodeRows` encodes through one string. */
const shortRows = fc.array(
  fc.tuple(fc.string({ maxLength: 40 }), fc.maxSafeInteger(), fc.constant(null)),
  { maxLength: 12 },
)
const first = createSealing(randomBytes(32))
const second = createSealing(randomBytes(32))
const foreign = createSealing(randomBytes(32))

/** Returns the keys for the add-on and for node:crypto. */
const bothWays = (key: KeyObject) => [createRowKey(key), { key }] as const

function toRow(fields: readonly SqlValue[], mac: SqlValue): Row {
  return { ...Object.fromEntries(COLUMNS.map((name, i) => [name, fields[i] ?? null])), mac }
}

/** Verifies rows with the first key or the second one in both ways, and returns what both return. */
function verifyBothWays(rows: readonly Row[]) {
  const [nativeFirst, nodeFirst] = bothWays(first.keys.row)
  const [nativeSecond, nodeSecond] = bothWays(second.keys.row)
  const encoded = () => {
    const found = encodeRows(TABLE, COLUMNS, rows)
    if (found === undefined) throw new TypeError('a column is missing')
    return found
  }
  const read = (verified: ReturnType<typeof verifyRows>) =>
    typeof verified === 'number'
      ? verified
      : { sum: verified.sum, elements: verified.elements.toString('hex') }
  const native = read(verifyRows(encoded(), nativeFirst, nativeSecond))
  const node = read(verifyRows(encoded(), nodeFirst, nodeSecond))
  return { native, node }
}

void t.test('the add-on is built', (t) => {
  t.equal(missingRowCodes(), undefined)
  t.ok('handle' in createRowKey(first.keys.row))
  t.end()
})

void t.test('both ways verify rows of either key, with the elements of their codes', (t) => {
  fc.assert(
    fc.property(fc.oneof(fieldsOfRows, shortRows), fc.infiniteStream(fc.boolean()), (rows, by) => {
      const codes = rows.map((fields) => {
        const sealing = by.next().value === true ? first : second
        return sealing.code([TABLE, ...fields])
      })
      const { native, node } = verifyBothWays(
        rows.map((fields, i) => toRow(fields, codes[i]?.mac ?? null)),
      )
      const sum = codes.reduce((total, { element }) => (total + element) % MODULUS, 0n)
      const elements = codes.map(({ element }) => toBytes(element).toString('hex')).join('')
      t.strictSame(native, { sum, elements })
      t.strictSame(node, native)
    }),
    CASES,
  )
  t.end()
})

void t.test('both ways find the first row that does not verify', (t) => {
  const forge = fc.record({
    at: fc.nat(11),
    how: fc.constantFrom(
      ...['field', 'mac', 'text', 'short', 'wide', 'null', 'key', 'blob', 'bytes', 'number'],
    ),
  })
  fc.assert(
    fc.property(
      fc.oneof(fieldsOfRows, shortRows),
      fc.array(forge, { minLength: 1 }),
      (rows, all) => {
        interface Forgeable {
          readonly fields: SqlValue[]
          mac: SqlValue
        }
        const sealed = rows.map((fields): Forgeable => {
          return { fields: [...fields], mac: first.code([TABLE, ...fields]).mac }
        })
        const forged = new Set<number>()
        for (const { at, how } of all) {
          const row = sealed[at]
          if (row === undefined || forged.has(at)) continue
          forged.add(at)
          const text = String(row.mac)
          if (how === 'field') row.fields[2] = `${String(row.fields[2])}.`
          if (how === 'mac') row.mac = `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`
          // The last character has four bits, so another one can stand for the same bytes.
          if (how === 'text') row.mac = `${text.slice(0, 42)}${nextCharacter(text.charAt(42))}=`
          if (how === 'short') row.mac = text.slice(0, 43)
          // In Latin-1, this character would become the one that it replaces.
          if (how === 'wide')
            row.mac = String.fromCharCode(text.charCodeAt(0) + 256) + text.slice(1)
          if (how === 'null') row.mac = null
          // The tables accept values of every type.
          if (how === 'blob') row.mac = Buffer.from(text)
          if (how === 'bytes') row.mac = Uint8Array.from(Buffer.from(text))
          if (how === 'number') row.mac = 0
          if (how === 'key') row.mac = foreign.code([TABLE, ...row.fields]).mac
        }
        const { native, node } = verifyBothWays(sealed.map(({ fields, mac }) => toRow(fields, mac)))
        t.strictSame(node, native)
        if (forged.size > 0) t.equal(native, Math.min(...forged))
        else t.type(native, 'object')
      },
    ),
    CASES,
  )
  t.end()
})

function nextCharacter(character: string): string {
  const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  return DIGITS.charAt(DIGITS.indexOf(character) + 1)
}

void t.test('a row without a column is not encoded', (t) => {
  const row = toRow([1, 'two', null], 'x'.repeat(44))
  const others = { a: 1, c: null, mac: row['mac'] ?? null }
  t.equal(encodeRows(TABLE, COLUMNS, [row, others]), undefined)
  t.equal(encodeRows(TABLE, COLUMNS, [{ ...others, a: 'x'.repeat(200) }]), undefined)
  t.end()
})

void t.test('rows that are too large for a page are a damage of the store', (t) => {
  // The rows share memory that nothing is written to.
  const large = Buffer.alloc(2 ** 26)
  const row = toRow([1, large, null], 'x'.repeat(44))
  const page = Array.from({ length: 2 ** 5 }, () => row)
  t.throws(() => encodeRows(TABLE, COLUMNS, page), {
    code: 'STORE_CORRUPT',
    message: /some_table/,
  })
  t.end()
})

void t.test('the sum wraps around at 2^256', (t) => {
  let total = 0n
  const rows: Row[] = []
  // The sum of ten elements exceeds 2^256 unless they are all unusually small.
  for (let i = 0; i < 10; i += 1) {
    const { mac, element } = first.code([TABLE, i, null, null])
    rows.push(toRow([i, null, null], mac))
    total += element
  }
  const { native, node } = verifyBothWays(rows)
  t.ok(total >= MODULUS)
  t.match(native, { sum: total % MODULUS })
  t.strictSame(node, native)
  const largest = MODULUS - 1n
  t.equal(toNumber(toBytes(largest)), largest)
  t.equal(toBytes(1n).length, ELEMENT_BYTES)
  t.end()
})

void t.test('the add-on refuses arguments that do not fit together', (t) => {
  const key = createRowKey(first.keys.row)
  if (!('addOn' in key)) throw new TypeError('the add-on is not built')
  const { addOn, handle } = key
  const call =
    (ends: readonly number[], elements = 64, sum = ELEMENT_BYTES) =>
    () =>
      addOn.verify(
        ...([handle, undefined, Buffer.alloc(100), Uint32Array.from(ends)] as const),
        ...([Buffer.alloc(elements), Buffer.alloc(sum)] as const),
      )
  t.throws(call([101]), /outside/)
  t.throws(call([43]), /outside/)
  const { mac } = first.code([TABLE, 1, 2, 3])
  const { bytes } = encodeRows(TABLE, COLUMNS, [toRow([1, 2, 3], mac)]) ?? {
    bytes: Buffer.alloc(0),
  }
  const ends = Uint32Array.of(bytes.length, bytes.length - 1)
  t.throws(
    () => addOn.verify(handle, undefined, bytes, ends, Buffer.alloc(64), Buffer.alloc(32)),
    /outside/,
  )
  t.throws(call([50, 100], 63), /expects/)
  t.throws(call([50], 64, 31), /expects/)
  t.equal(call([50, 100])(), 0)
  t.equal(call([])(), 0)
  t.end()
})

const PROGRAM = new URL('../../src/store/row-codes/row-codes.js', import.meta.url).href

void t.test('it works on another thread', async (t) => {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     void import(workerData).then(({ missingRowCodes }) => parentPort.postMessage([missingRowCodes()]))`,
    { eval: true, workerData: PROGRAM },
  )
  const answer = await new Promise((resolve, reject) => {
    worker.once('message', resolve).once('error', reject)
  })
  t.strictSame(answer, [undefined])
  await worker.terminate()
})

void t.test('without the add-on, node:crypto verifies rows, and the reason is known', (t) => {
  const hook = join(t.testdir(), 'no-add-on.cjs')
  writeFileSync(
    hook,
    `const { dlopen } = process
     process.dlopen = (module, file, ...more) => {
       if (file.endsWith('row_codes.node')) throw new Error('left out by a test')
       dlopen(module, file, ...more)
     }`,
  )
  const { mac, element } = first.code([TABLE, 1, 'two', null])
  const input = JSON.stringify({ row: toRow([1, 'two', null], mac), columns: COLUMNS })
  const key = first.keys.row.export().toString('hex')
  const script = `
    const { createSecretKey } = await import('node:crypto')
    const codes = await import(${JSON.stringify(PROGRAM)})
    const { encodeRows } = await import(new URL('../encoding.js', ${JSON.stringify(PROGRAM)}).href)
    const { row, columns } = ${input}
    const key = codes.createRowKey(createSecretKey('${key}', 'hex'))
    const { sum } = codes.verifyRows(encodeRows('${TABLE}', columns, [row]), key)
    const bad = codes.verifyRows(encodeRows('${TABLE}', columns, [{ ...row, b: 'three' }]), key)
    console.log(JSON.stringify([codes.missingRowCodes(), String(sum), bad]))`
  const output = execFileSync(
    process.execPath,
    ['--require', hook, '--input-type=module', '-e', script],
    { encoding: 'utf8' },
  )
  t.strictSame(JSON.parse(output), ['left out by a test', String(element), 0])
  t.end()
})

void t.test('a copied key gives the same codes', (t) => {
  const copy = createSealingOf({
    ...first.keys,
    row: createSecretKey(first.keys.row.export()),
  })
  const { mac } = first.code([TABLE, 1, 2, 3])
  const encoded = encodeRows(TABLE, COLUMNS, [toRow([1, 2, 3], mac)])
  t.type(encoded === undefined ? 0 : copy.verifyRows(encoded), 'object')
  t.end()
})
