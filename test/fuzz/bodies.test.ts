/**
 * Fuzzes the request bodies of the four operations: the result is a typed request or one of three errors, never a
 * crash.
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { createApiSchemas } from '../../src/openapi/schemas.ts'
import { decodeBody, decodeInput, type DecodedBody, type Input } from '../../src/xks/decode.ts'
import type { Operation } from '../../src/core/request.ts'
import { XksError } from '../../src/xks/errors.ts'
import { damaged, runs } from '../support/fuzz.ts'
import { decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

type Json = Record<string, unknown>

const schemas = createApiSchemas()
const LIMITS = { maxPlaintextBytes: 4300, maxAadBytes: 8192 }
const NAMES = new Set([
  'ValidationException',
  'UnsupportedOperationException',
  'InvalidCiphertextException',
])

const BODIES: Readonly<Record<Operation, Json>> = {
  GetKeyMetadata: { requestMetadata: requestMetadata('DescribeKey') },
  GetHealthStatus: { requestMetadata: requestMetadata('KmsHealthCheck') },
  Encrypt: encryptBody({
    additionalAuthenticatedData: 'cHJvamVjdA==',
    ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
  }),
  Decrypt: decryptBody(
    {
      ciphertext: 'AAAA',
      ciphertextMetadata: 'AQAAAAE=',
      initializationVector: 'AAAAAAAAAAAAAAAA',
      authenticationTag: 'AAAAAAAAAAAAAAAAAAAAAA==',
    },
    { additionalAuthenticatedData: 'cHJvamVjdA==' },
  ),
}
const OPERATIONS = Object.keys(BODIES) as Operation[]

/** Replaces a field, or a field of requestMetadata, with an arbitrary value. */
function replaced(body: Json): fc.Arbitrary<Json> {
  const inner = body['requestMetadata'] as Json
  const value = fc.oneof(fc.jsonValue(), fc.string(), fc.base64String(), fc.constant(undefined))
  return fc.oneof(
    fc
      .tuple(fc.constantFrom(...Object.keys(body)), value)
      .map(([field, other]) => ({ ...body, [field]: other })),
    fc
      .tuple(fc.constantFrom(...Object.keys(inner)), value)
      .map(([field, other]) => ({ ...body, requestMetadata: { ...inner, [field]: other } })),
    fc.tuple(fc.string(), value).map(([field, other]) => ({ [field]: other, ...body })),
  )
}

const input = fc.constantFrom(...OPERATIONS).chain((operation) => {
  const body = BODIES[operation]
  return fc.record({
    operation: fc.constant(operation),
    bytes: fc.oneof(
      damaged(JSON.stringify(body)).map((text) => Buffer.from(text)),
      replaced(body).map((value) => Buffer.from(JSON.stringify(value))),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    ),
  })
})

interface Decoded {
  readonly body: DecodedBody
  readonly input: Input
}

function decode(operation: Operation, bytes: Buffer): Decoded | XksError {
  try {
    const body = decodeBody(schemas, operation, 'application/json', bytes)
    return { body, input: decodeInput(operation, body, LIMITS) }
  } catch (error) {
    if (error instanceof XksError) return error
    throw error
  }
}

/** Returns whether each decoded Base64 field re-encodes to the original text. */
function readsBack({ body, input }: Decoded): boolean {
  const wire = body.wire as unknown as Record<string, string | undefined>
  const same = (bytes: Buffer, field: string) => bytes.toString('base64') === (wire[field] ?? '')
  if (input.kind === 'encrypt')
    return same(input.plaintext, 'plaintext') && same(input.aad, 'additionalAuthenticatedData')
  if (input.kind === 'decrypt')
    return (
      same(input.ciphertext, 'ciphertext') &&
      same(input.iv, 'initializationVector') &&
      same(input.tag, 'authenticationTag') &&
      same(input.metadata, 'ciphertextMetadata') &&
      same(input.aad, 'additionalAuthenticatedData')
    )
  return true
}

void t.test('a corrupted body yields a valid request or an error that quotes none of it', (t) => {
  const seen = { accepted: 0, refused: 0 }
  fc.assert(
    fc.property(input, ({ operation, bytes }) => {
      const result = decode(operation, bytes)
      if (!(result instanceof XksError)) {
        seen.accepted += 1
        return readsBack(result)
      }
      seen.refused += 1
      return NAMES.has(result.errorName) && /^[\x20-\x7e]{1,511}$/.test(result.message)
    }),
    runs(10_000),
  )
  t.ok(seen.accepted > 100 && seen.refused > 1000, JSON.stringify(seen))
  t.end()
})
