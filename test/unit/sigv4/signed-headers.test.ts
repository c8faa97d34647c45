/** Tests reading a request's headers exactly as they were received. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { WireHeaders } from '../../../src/sigv4/signed-headers.ts'

void t.test('names are found in any case, values keep theirs', (t) => {
  const headers = new WireHeaders(['HOST', 'Example.com', 'x-Amz-DATE', '20150830T123600Z'])
  t.equal(headers.single('host'), 'Example.com')
  t.equal(headers.canonical('host'), 'Example.com')
  t.equal(headers.single('x-amz-date'), '20150830T123600Z')
  t.equal(headers.count('host'), 1)
  t.end()
})

void t.test('a missing header', (t) => {
  const headers = new WireHeaders(['host', 'a'])
  for (const name of ['x-amz-date', 'Host', '', 'constructor', '__proto__', 'toString']) {
    t.equal(headers.count(name), 0, name)
    t.equal(headers.single(name), undefined, name)
    t.equal(headers.canonical(name), undefined, name)
  }
  t.end()
})

void t.test('repetitions are counted, and none of them is the single one', (t) => {
  const headers = new WireHeaders(['Authorization', 'a', 'X', '1', 'authorization', 'a', 'x', '2'])
  t.equal(headers.count('authorization'), 2)
  t.equal(headers.single('authorization'), undefined, 'not even when both are the same')
  const three = new WireHeaders(['x', '1', 'X', '2', 'x', '3'])
  t.equal(three.count('x'), 3)
  t.equal(three.single('x'), undefined)
  t.end()
})

void t.test('repetitions are joined by commas in the order received', (t) => {
  const headers = new WireHeaders(['X', ' 4 ', 'y', 'no', 'x', '1', 'X', 'a   b', 'x', ''])
  t.equal(headers.canonical('x'), '4,1,a b,')
  t.equal(headers.canonical('y'), 'no')
  t.end()
})

void t.test('an empty header is present and empty', (t) => {
  const headers = new WireHeaders(['x', ''])
  t.equal(headers.count('x'), 1)
  t.equal(headers.single('x'), '')
  t.equal(headers.canonical('x'), '')
  t.end()
})

void t.test('white space is folded in the canonical value, and in no other', (t) => {
  const FOLDED: readonly (readonly [value: string, canonical: string])[] = [
    ['a b', 'a b'],
    ['  a b  ', 'a b'],
    ['a  b', 'a b'],
    ['a      b     c', 'a b c'],
    ['"a   b   c"', '"a b c"'],
    ['\ta\tb\t', 'a b'],
    ['a\t b', 'a b'],
    ['value1\n  value2\n     value3', 'value1 value2 value3'],
    ['value1\r\n value2', 'value1 value2'],
    ['\t', ''],
    ['   ', ''],
    ['a,  b', 'a, b'],
    ['a,b', 'a,b'],
  ]
  for (const [value, canonical] of FOLDED) {
    const headers = new WireHeaders(['x', value])
    t.equal(headers.canonical('x'), canonical, JSON.stringify(value))
    t.equal(headers.single('x'), value, JSON.stringify(value))
  }
  t.end()
})

void t.test('nothing but SP and HTAB is white space', (t) => {
  const OTHERS = '\u00a0\r\v\f\u0085\ufeff\u1680\u2003\u2028\u3000'
  for (const other of OTHERS) {
    for (const value of [`${other}a`, `a${other}`, `a${other}${other}b`, `a ${other} b`, other]) {
      const headers = new WireHeaders(['x', value])
      t.ok(headers.canonical('x') === value, `U+${other.charCodeAt(0).toString(16)}`)
    }
  }
  t.end()
})

void t.test('pseudo-headers of HTTP/2 are headers here', (t) => {
  const headers = new WireHeaders([':method', 'POST', ':authority', 'example.com:443', 'x', '1'])
  t.equal(headers.single(':authority'), 'example.com:443')
  t.equal(headers.count('host'), 0)
  t.end()
})

void t.test('a list that is cut off, or empty', (t) => {
  t.equal(new WireHeaders(['x', '1', 'y']).count('y'), 0)
  t.equal(new WireHeaders([]).count('x'), 0)
  t.end()
})
