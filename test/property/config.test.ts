/** Compares the check of a configuration with Ajv's: the same faults in the same order, and the same defaults. */
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert'
import { Ajv, type ErrorObject } from 'ajv'
import fc from 'fast-check'
import t from 'tap'
import { type Fault, type SchemaError, toFault } from '../../src/config/faults.ts'
import { CONFIG_SCHEMA } from '../../src/config/schema.ts'
import type { Schema } from '../../src/config/setting.ts'
import { validate } from '../../src/config/validate.ts'

const RUNS = 500
/** Lists that may be longer than this are never too long here. */
const MANY = 20

const ajv = new Ajv({
  allErrors: true,
  useDefaults: true,
  verbose: true,
  strict: true,
  allowUnionTypes: true,
})
ajv.addKeyword('patternErrorMessage')
const check = ajv.compile(CONFIG_SCHEMA)

/** Converts `/keyStores/2/prefix` to `keyStores[2].prefix`. */
function toPath(pointer: string): string {
  return pointer
    .replaceAll(/\/(\d+)/g, '[$1]')
    .replaceAll('/', '.')
    .replace(/^\./, '')
}

function toError(error: ErrorObject): SchemaError {
  const { missingProperty, additionalProperty } = error.params as Record<string, string>
  return {
    keyword: error.keyword as SchemaError['keyword'],
    path: toPath(error.instancePath),
    schema: error.parentSchema as Schema,
    value: error.data,
    name: missingProperty ?? additionalProperty ?? '',
  }
}

function expectedFaults(value: unknown): readonly Fault[] {
  return check(value) ? [] : (check.errors ?? []).map((error) => toFault(toError(error)))
}

const ANY: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown>(null, true, '', 'x', '5s', 0, 1, -1, 1.5, 70_000, Infinity, NaN, [], {}),
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.array(fc.constantFrom<unknown>('x', 5, null), { maxLength: 3 }),
  fc.dictionary(fc.constantFrom('x', 'file', 'name', 'toString', '__proto__'), fc.constant('x')),
)

/** Returns values that often match the schema, at least in their type. */
function valuesOf(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof({ arbitrary: likely(schema), weight: 15 }, { arbitrary: ANY, weight: 1 })
}

function likely(schema: Schema): fc.Arbitrary<unknown> {
  const { properties, items, maxItems = Infinity } = schema
  if (properties !== undefined) {
    const model = Object.fromEntries(
      Object.entries(properties).map(([name, one]) => [name, valuesOf(one)]),
    )
    return fc.record(model, { requiredKeys: [] })
  }
  if (items !== undefined) {
    const some = fc.array(valuesOf(items), { maxLength: 4 })
    if (maxItems > MANY) return some
    const tooMany = fc.array(valuesOf(items), { minLength: maxItems + 1, maxLength: maxItems + 1 })
    return fc.oneof({ arbitrary: some, weight: 9 }, { arbitrary: tooMany, weight: 1 })
  }
  const samples = [...(schema.enum ?? []), ...(schema.examples ?? []), schema.default, 'demo', 7]
  return fc.constantFrom(...samples.filter((one) => one !== undefined))
}

void t.test('a random configuration has the faults and the defaults that Ajv finds', (t) => {
  const keywords = new Set<string>()
  fc.assert(
    fc.property(valuesOf(CONFIG_SCHEMA), (value) => {
      const [ours, theirs] = [structuredClone(value), structuredClone(value)]
      assert.deepStrictEqual(validate(CONFIG_SCHEMA, ours), expectedFaults(theirs))
      assert.deepStrictEqual(ours, theirs)
      for (const { keyword } of check.errors ?? []) keywords.add(keyword)
    }),
    { numRuns: RUNS },
  )
  t.strictSame(
    [...keywords].sort(),
    [
      ...['additionalProperties', 'enum', 'maxItems', 'maxProperties', 'maximum', 'minItems'],
      ...['minLength', 'minProperties', 'minimum', 'pattern', 'required', 'type'],
    ],
    'the values violate every keyword',
  )
  t.end()
})
