/**
 * Corrupts frames between the server and its PKCS#11 module processes, in both directions, and checks that every
 * corrupted frame is rejected.
 */
// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { isAnswerTo } from '../../src/keys/pkcs11/wire/calls.ts'
import { parseFailure } from '../../src/keys/pkcs11/wire/errors.ts'
import {
  checkResult,
  DECRYPT,
  decodeParts,
  DIGEST,
  ENCRYPT,
  encodeFrame,
  FrameReader,
  ProtocolError,
  type Frame,
} from '../../src/keys/pkcs11/wire/protocol.ts'
import { damaged, runs } from '../support/fuzz.ts'

const toBuffer = (bytes: Uint8Array) => Buffer.from(bytes)
const part = fc.uint8Array({ maxLength: 40 }).map(toBuffer)
const frame = fc.record({
  kind: fc.nat(255),
  id: fc.nat(0xffff_ffff),
  parts: fc.array(part, { maxLength: 6 }),
})
const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 })

/** Yields the bytes in pieces, as a pipe may deliver them, cycling through the given sizes. */
function* inPieces(bytes: Buffer, sizes: readonly number[]): Generator<Buffer> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? 1
    yield Buffer.from(bytes.subarray(at, at + size))
    at += size
  }
}

/** Reads frames as both ends of the pipe do. @throws ProtocolError, SyntaxError */
function readAll(bytes: Buffer, sizes: readonly number[]): readonly Frame[] {
  const reader = new FrameReader()
  const frames: Frame[] = []
  for (const piece of inPieces(bytes, sizes)) frames.push(...reader.take(piece))
  return frames
}

function isRefusal(error: unknown): boolean {
  return error instanceof ProtocolError || error instanceof SyntaxError
}

void t.test('frames are read as they were written, however the pipe splits them', (t) => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 5 }), cuts, (sent, sizes) => {
      const bytes = Buffer.concat(sent.map(({ kind, id, parts }) => encodeFrame(kind, id, parts)))
      const got = readAll(bytes, sizes).map(({ kind, id, body }) => ({
        ...{ kind, id },
        parts: decodeParts(body).map((one) => one.toString('hex')),
      }))
      const expected = sent.map(({ kind, id, parts }) => ({
        ...{ kind, id },
        parts: parts.map((one) => one.toString('hex')),
      }))
      return isDeepStrictEqual(got, expected)
    }),
    runs(500),
  )
  t.end()
})

void t.test('arbitrary bytes yield frames or an error', (t) => {
  const broken = fc
    .tuple(
      fc.array(frame, { minLength: 1, maxLength: 3 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(255))),
    )
    .map(([sent, edits]) => {
      const bytes = Buffer.concat(sent.map(({ kind, id, parts }) => encodeFrame(kind, id, parts)))
      for (const [at, value] of edits) bytes[at % bytes.length] = value
      return bytes
    })
  const seen = { whole: 0, refused: 0 }
  fc.assert(
    fc.property(
      fc.oneof(broken, fc.uint8Array({ maxLength: 200 }).map(toBuffer)),
      cuts,
      (bytes, sizes) => {
        try {
          for (const { kind, body } of readAll(bytes, sizes)) {
            const parts = decodeParts(body)
            const length = parts.reduce((sum, one) => sum + one.length + 4, 0)
            if (length !== body.length) throw new Error('parts have more bytes than their frame')
            checkResult(kind === 0 ? ENCRYPT : DECRYPT, parts, parts)
          }
          seen.whole += 1
        } catch (error) {
          if (!isRefusal(error)) throw error
          seen.refused += 1
        }
      },
    ),
    runs(2000),
  )
  t.ok(seen.whole > 0 && seen.refused > 0, JSON.stringify(seen))
  t.end()
})

void t.test('failures and responses are accepted only in their own format', (t) => {
  const failure = JSON.stringify({ code: 'UNAVAILABLE', message: 'm', hint: 'h', recovery: 'drop' })
  const facts = {
    ...{ label: 'a', serial: 'b', manufacturer: 'c', model: 'd', firmware: '1.0', slot: 7 },
  }
  t.match(parseFailure(failure), { code: 'UNAVAILABLE', recovery: 'drop' })
  t.ok(isAnswerTo('start', facts))
  t.ok(isAnswerTo('start', { ...facts, slot: 2 ** 61 + 1 }), 'as AWS CloudHSM numbers its slot')
  t.ok(isAnswerTo('list', []) && isAnswerTo('health', null))
  for (const wrong of [null, [], 'x', { ...facts, slot: '7' }, { ...facts, label: undefined }])
    t.notOk(isAnswerTo('start', wrong), JSON.stringify(wrong))
  for (const wrong of ['null', '[]', '{"code":"toString","message":"m"}', '{"code":"BUSY"}'])
    t.throws(() => parseFailure(wrong), ProtocolError)
  fc.assert(
    fc.property(damaged(failure), fc.jsonValue(), (text, value) => {
      for (const call of ['start', 'probe', 'describe', 'list', 'create', 'health'] as const)
        isAnswerTo(call, value)
      try {
        return typeof parseFailure(text).message === 'string'
      } catch (error) {
        return isRefusal(error)
      }
    }),
    runs(2000),
  )
  t.end()
})

void t.test("a response's sizes must match the request's", (t) => {
  const sizes = (...list: readonly number[]) => list.map((size) => Buffer.alloc(size))
  const encrypt = [Buffer.from([0, 0, DIGEST, 0]), ...sizes(3, 0, 9, 32, 5)]
  const decrypt = sizes(4, 3, 0, 9, 12, 48)
  t.doesNotThrow(() => {
    checkResult(ENCRYPT, encrypt, sizes(12, 48, 32, 4))
    checkResult(ENCRYPT, encrypt, sizes(16, 48, 32, 4))
    checkResult(ENCRYPT, sizes(4, 3, 0, 9, 32, 5), sizes(12, 48, 0, 4))
    checkResult(DECRYPT, decrypt, sizes(32))
  })
  for (const answer of [[], [12, 48, 32], [12, 47, 32, 4], [11, 48, 32, 4], [12, 48, 0, 4], [32]])
    t.throws(() => {
      checkResult(ENCRYPT, encrypt, sizes(...answer))
    }, ProtocolError)
  for (const answer of [[], [31], [33], [32, 0]])
    t.throws(() => {
      checkResult(DECRYPT, decrypt, sizes(...answer))
    }, ProtocolError)
  t.end()
})
