/** Tests that any changed byte in signed content is detected, and that permitted changes are accepted. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import type { SignedRequest } from '../../src/sigv4/verify.ts'
import {
  assertAccepted,
  authorizationIn,
  judge,
  sample,
  signByAws4,
  toChar,
  type Sample,
} from '../support/sigv4-samples.ts'

const change = fc.record({
  kind: fc.constantFrom('replace', 'insert', 'delete'),
  /** Position of the change, taken modulo the text length. */
  place: fc.nat({ max: 1_000_000 }),
  byte: fc.nat({ max: 255 }),
})

function edit(text: string, { kind, place, byte }: { kind: string; place: number; byte: number }) {
  const at = place % Math.max(text.length, 1)
  const rest = text.slice(kind === 'insert' ? at : at + 1)
  return text.slice(0, at) + (kind === 'delete' ? '' : toChar(byte)) + rest
}

/** Canonicalization trims a value and collapses white space inside it. */
const folded = (value: string) => value.trim().split(/\s+/).join(' ')

function assertRefused(item: Sample, request: SignedRequest): void {
  if (judge(item, request).caller !== undefined) throw new Error('it was accepted')
}

void t.test('a changed byte in method, target or body is refused', async () => {
  fc.assert(
    fc.property(sample, change, fc.constantFrom('method', 'target', 'body'), (item, how, part) => {
      const request = signByAws4(item)
      const before = part === 'body' ? item.body.toString('latin1') : request[part]
      const after = edit(before, how)
      fc.pre(after !== before)
      const changed = part === 'body' ? { body: Buffer.from(after, 'latin1') } : { [part]: after }
      assertRefused(item, { ...request, ...changed })
    }),
    { numRuns: 1000 },
  )
})

void t.test('a changed byte in the name or value of a signed header is refused', async () => {
  fc.assert(
    fc.property(sample, change, fc.nat(), (item, how, which) => {
      const request = signByAws4(item)
      const at = which % request.rawHeaders.length
      const before = request.rawHeaders[at] ?? ''
      const after = edit(before, how)
      const isName = at % 2 === 0
      const isAuthorization = authorizationIn(request) === before
      // Authorization is not canonicalized and has two valid spellings, which are tested below.
      fc.pre(isAuthorization ? how.kind === 'replace' : true)
      fc.pre(
        isName ? after.toLowerCase() !== before.toLowerCase() : folded(after) !== folded(before),
      )
      assertRefused(item, { ...request, rawHeaders: request.rawHeaders.with(at, after) })
    }),
    { numRuns: 2000 },
  )
})

void t.test('a changed byte anywhere in Authorization is refused', async () => {
  fc.assert(
    fc.property(sample, change, (item, how) => {
      const request = signByAws4(item)
      const before = authorizationIn(request)
      const after = edit(before, how)
      fc.pre(
        after.replaceAll(/,? +/g, (s) => s.trim()) !== before.replaceAll(/,? +/g, (s) => s.trim()),
      )
      const at = request.rawHeaders.indexOf(before)
      assertRefused(item, { ...request, rawHeaders: request.rawHeaders.with(at, after) })
    }),
    { numRuns: 1000 },
  )
})

void t.test('a signed header that is removed, added or renamed is refused', async () => {
  fc.assert(
    fc.property(sample, fc.nat(), fc.nat(), (item, one, other) => {
      const request = signByAws4(item)
      const { rawHeaders } = request
      const names = rawHeaders.filter((text, i) => i % 2 === 0 && !/^authorization$/i.test(text))
      const at = rawHeaders.indexOf(names[one % names.length] ?? '')
      const second = rawHeaders.indexOf(names[other % names.length] ?? '')
      const [name = '', value = ''] = rawHeaders.slice(at)
      assertRefused(item, { ...request, rawHeaders: rawHeaders.toSpliced(at, 2) })
      assertRefused(item, { ...request, rawHeaders: [...rawHeaders, name, value] })
      const theirs = rawHeaders[second + 1] ?? ''
      if (folded(theirs) === folded(value)) return
      const swapped = rawHeaders.with(at + 1, theirs).with(second + 1, value)
      assertRefused(item, { ...request, rawHeaders: swapped })
    }),
    { numRuns: 500 },
  )
})

void t.test('the order of headers and the case of their names do not matter', async () => {
  fc.assert(
    fc.property(sample, fc.nat(), fc.boolean(), (item, turn, upper) => {
      const request = signByAws4(item)
      const pairs = request.rawHeaders.flatMap((name, i) =>
        i % 2 === 0
          ? [[upper ? name.toUpperCase() : name.toLowerCase(), request.rawHeaders[i + 1] ?? '']]
          : [],
      )
      const by = turn % pairs.length
      const rawHeaders = [...pairs.slice(by), ...pairs.slice(0, by)].flat()
      assertAccepted(item, { ...request, rawHeaders })
    }),
    { numRuns: 200 },
  )
})
