/** Tests the limits on a body's nesting depth and number of elements, which are enforced before the body is parsed. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createApiSchemas } from '../../../src/openapi/schemas.ts'
import { decodeBody } from '../../../src/xks/decode.ts'
import { encryptBody, requestMetadata } from '../../support/wire.ts'

const decode = (text: string) =>
  decodeBody(createApiSchemas(), 'Encrypt', 'application/json', Buffer.from(text))

const withMetadata = (more: Record<string, unknown>) =>
  JSON.stringify(encryptBody({ requestMetadata: requestMetadata('Encrypt', more) }))

const nest = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)

void t.test('unknown fields are accepted, nested and many of them', (t) => {
  const many = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`x${String(i)}`, i]))
  const deep: unknown = JSON.parse(nest(900))
  t.ok(decode(withMetadata({ deep, list: [1, 2, { a: {} }] })).metadata.other)
  t.equal(Object.keys(decode(withMetadata(many)).metadata.other ?? {}).length, 900)
  t.end()
})

void t.test('a body that is nested deeper or has more parts is refused unparsed', (t) => {
  const body = withMetadata({ x: 'HERE' })
  const bodies = {
    'nested arrays in unknown metadata': body.replace('"HERE"', nest(50_000)),
    'nested objects': body.replace('"HERE"', '{"a":'.repeat(20_000) + '1' + '}'.repeat(20_000)),
    'empty objects side by side': body.replace('"HERE"', `[${'{},'.repeat(1001)}1]`),
    'many fields': body.replace('"HERE"', `1${',"a":1'.repeat(1001)}`),
    'many elements beside the metadata': `{"a":[0${',0'.repeat(50_000)}],${body.slice(1)}`,
    'nested arrays alone': nest(1001),
  }
  for (const [name, text] of Object.entries(bodies)) {
    t.throws(
      () => decode(text),
      {
        errorName: 'ValidationException',
        message: 'The request body has too many fields, elements or objects.',
      },
      name,
    )
  }
  t.end()
})
