/** Tests that entries are canonical for any input, fit into a bundle, and have no field for secrets. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { MAX_ENTRY_BYTES } from '../../../src/audit/log/tiles.ts'
import { decodeEntry, encodeMark, hashSealed } from '../../../src/audit/record.ts'
import { encodeRequest } from '../../../src/audit/request-entry.ts'
import type { RequestMetadata } from '../../../src/core/request.ts'
import { type Json, toCanonicalJson } from '../../../src/core/signature.ts'
import { decryptRecord } from '../../support/audit.ts'

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 100 }),
  fc.string({ unit: 'grapheme' }),
  fc.constantFrom(
    '\ud800',
    '\udc00\ud800',
    '\u2028',
    '"\\',
    '\u0000'.repeat(5000),
    '\u00e9'.repeat(5000),
  ),
)
const optional = fc.option(text, { nil: undefined })

void t.test('every entry is in canonical form and within the size limit', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        ...{ awsPrincipalArn: optional, awsSourceVpc: optional, awsSourceVpce: optional },
        ...{ kmsKeyArn: optional, kmsViaService: optional, kmsOperation: text, kmsRequestId: text },
        other: fc.option(fc.dictionary(text, fc.jsonValue(), { maxKeys: 30 }), { nil: undefined }),
      }),
      fc.nat(),
      fc.nat(3),
      (metadata, seq, lost) => {
        const defined = Object.fromEntries(
          Object.entries(metadata).filter(([, value]) => value !== undefined),
        ) as { kmsOperation: string; kmsRequestId: string }
        const record = { ...decryptRecord('id'), metadata: defined }
        const entry = encodeRequest(record, { seq, lost, corrects: lost === 2 ? 1 : undefined })
        t.equal(toCanonicalJson(JSON.parse(entry) as Json), entry)
        t.ok(Buffer.byteLength(entry) <= MAX_ENTRY_BYTES)
        t.match(decodeEntry(Buffer.from(entry)), { kind: 'request', seq, outcome: 'allowed' })
      },
    ),
    { numRuns: 300 },
  )
  t.end()
})

const word = fc.option(
  fc.oneof(fc.stringMatching(/^[\x20-\x7e]{0,40}$/), fc.constant('\u00e9\n')),
  {
    nil: undefined,
  },
)
const number = fc.option(fc.nat(), { nil: undefined })

void t.test('an entry has each field of its record, and no other', (t) => {
  fc.assert(
    fc.property(
      fc.record({
        ...{ accessClass: word, accessKeyId: word, bodySha256: word, errorName: word, keyId: word },
        ...{ keyStore: word, reason: word, region: word, sealedSha256: word },
        ...{ unverifiedKmsRequestId: word, gateEpoch: number, keyVersion: number },
        ...{ policyRevision: number, isProbe: fc.constantFrom(true as const, undefined) },
        policies: fc.option(fc.array(fc.string()), { nil: undefined }),
        operation: fc.constantFrom('Encrypt' as const, undefined),
      }),
      fc.record({ awsPrincipalArn: word, awsSourceVpc: word, awsSourceVpce: word }),
      fc.record({ kmsKeyArn: word, kmsViaService: word }),
      fc.record({ corrects: number, lost: fc.nat(2), seq: fc.nat() }),
      (fields, caller, key, place) => {
        const names = { kmsOperation: 'Encrypt', kmsRequestId: 'id' }
        const metadata = { ...names, ...caller, ...key } as RequestMetadata
        const record = { ...decryptRecord('id'), status: 403, ...fields, metadata }
        const expected = {
          ...{ ...fields, ...names, ...caller, ...key, corrects: place.corrects, seq: place.seq },
          ...{ kind: 'request', outcome: 'refused', status: 403, durationUs: 300 },
          ...{ time: '2026-09-21T14:13:20.000Z', remoteAddress: record.remoteAddress },
          lost: place.lost === 0 ? undefined : place.lost,
        }
        t.equal(encodeRequest(record, place), toCanonicalJson(expected))
      },
    ),
    { numRuns: 300 },
  )
  t.end()
})

void t.test('the outcome is that of the answer', (t) => {
  const outcome = (status: number) =>
    decodeEntry(Buffer.from(encodeRequest({ ...decryptRecord('id'), status }, { seq: 0, lost: 0 })))
      ?.outcome
  t.same([200, 400, 403, 429, 500, 503].map(outcome), [
    ...['allowed', 'refused', 'refused', 'refused', 'failed', 'failed'],
  ])
  t.end()
})

void t.test('bytes that do not decode to an entry', (t) => {
  t.match(decodeEntry(Buffer.from(encodeMark('start', { seq: 0 }))), { kind: 'start', seq: 0 })
  for (const bad of ['', '{}', 'null', '[]', '{"kind": "start"}', '{"seq":0,"kind":"start"}', '{'])
    t.equal(decodeEntry(Buffer.from(bad)), undefined, bad)
  t.end()
})

/** The examples in RFC 8785, sections 3.2.2 and 3.2.3. */
void t.test('the canonical form of the examples of RFC 8785', (t) => {
  const numbers = '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]}'
  t.equal(
    toCanonicalJson(JSON.parse(numbers) as Json),
    '{"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}',
  )
  const names = {
    ...{
      '\u20ac': 'Euro Sign',
      '\r': 'Carriage Return',
      '\ufb33': 'Hebrew Letter Dalet With Dagesh',
    },
    ...{ '1': 'One', '\ud83d\ude00': 'Emoji: Grinning Face', '\u0080': 'Control' },
    '\u00f6': 'Latin Small Letter O With Diaeresis',
  }
  t.same(
    [...toCanonicalJson(names).matchAll(/:"(\w+)/g)].map(([, word]) => word),
    ['Carriage', 'One', 'Control', 'Latin', 'Euro', 'Emoji', 'Hebrew'],
  )
  t.end()
})

void t.test('the hash of a sealed text depends on all of its parts', (t) => {
  const parts = { iv: Buffer.alloc(12), ciphertext: Buffer.alloc(4), tag: Buffer.alloc(16) }
  const known = hashSealed(parts)
  t.match(known, /^[0-9a-f]{64}$/)
  for (const name of ['iv', 'ciphertext', 'tag'] as const) {
    const changed = Buffer.from(parts[name]).fill(1)
    t.not(hashSealed({ ...parts, [name]: changed }), known, name)
  }
  t.end()
})
