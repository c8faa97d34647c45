/**
 * Checks a configuration against its schema and fills in the defaults. Schemas use only the few keywords of `Schema`, so
 * a walk over the value takes a millisecond. Compiling a validator would take a fifth of a second at each start of the
 * program. A property test compares the result with Ajv's.
 */
// SPDX-License-Identifier: Apache-2.0
import { type Fault, type SchemaError, toFault } from './faults.ts'
import { joinPath, type Schema, type SchemaType } from './setting.ts'

/** The value that is checked, its schema, and the path and list that its faults are added to. */
interface Place {
  readonly schema: Schema
  readonly value: unknown
  readonly path: string
  readonly faults: Fault[]
}

/**
 * Adds the defaults of missing properties to `value`, which is modified.
 * @returns every fault, in the order in which JSON Schema validators report them
 */
export function validate(schema: Schema, value: unknown): Fault[] {
  const faults: Fault[] = []
  check({ schema, value, path: '', faults })
  return faults
}

function check(place: Place): void {
  const { schema, value } = place
  if (schema.type !== undefined && ![schema.type].flat().some((type) => isOf(type, value)))
    report(place, { keyword: 'type' })
  if (typeof value === 'number' && Number.isFinite(value)) checkNumber(place, value)
  if (typeof value === 'string') checkString(place, value)
  if (schema.enum !== undefined && !schema.enum.some((one) => one === value))
    report(place, { keyword: 'enum' })
  if (Array.isArray(value)) checkList(place, value)
  else if (isObject(value)) checkObject(place, value)
}

function report(
  { schema, value, path, faults }: Place,
  error: Pick<SchemaError, 'keyword' | 'name'>,
): void {
  faults.push(toFault({ ...error, schema, value, path }))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isOf(type: SchemaType, value: unknown): boolean {
  switch (type) {
    case 'object':
      return isObject(value)
    case 'array':
      return Array.isArray(value)
    case 'integer':
      return Number.isInteger(value)
    case 'string':
    case 'boolean':
      return typeof value === type
  }
}

function checkNumber(place: Place, value: number): void {
  const { maximum, minimum } = place.schema
  if (maximum !== undefined && value > maximum) report(place, { keyword: 'maximum' })
  if (minimum !== undefined && value < minimum) report(place, { keyword: 'minimum' })
}

/** JSON Schema counts characters, and reads patterns with the flag `u`. */
function checkString(place: Place, value: string): void {
  const { minLength, pattern } = place.schema
  if (minLength !== undefined && Array.from(value).length < minLength)
    report(place, { keyword: 'minLength' })
  if (pattern !== undefined && !new RegExp(pattern, 'u').test(value))
    report(place, { keyword: 'pattern' })
}

function checkList(place: Place, value: readonly unknown[]): void {
  const { schema, path, faults } = place
  const { items } = schema
  if (schema.maxItems !== undefined && value.length > schema.maxItems)
    report(place, { keyword: 'maxItems' })
  if (schema.minItems !== undefined && value.length < schema.minItems)
    report(place, { keyword: 'minItems' })
  if (items === undefined) return
  value.forEach((one, i) => {
    check({ schema: items, value: one, path: `${path}[${String(i)}]`, faults })
  })
}

function checkObject(place: Place, value: Record<string, unknown>): void {
  const { schema, path, faults } = place
  const properties = Object.entries(schema.properties ?? {})
  for (const [name, { default: missing }] of properties) {
    if (missing !== undefined && value[name] === undefined) value[name] = structuredClone(missing)
  }
  const names = Object.keys(value)
  if (schema.maxProperties !== undefined && names.length > schema.maxProperties)
    report(place, { keyword: 'maxProperties' })
  if (schema.minProperties !== undefined && names.length < schema.minProperties)
    report(place, { keyword: 'minProperties' })
  for (const name of schema.required ?? []) {
    if (value[name] === undefined) report(place, { keyword: 'required', name })
  }
  if (schema.additionalProperties === false) {
    for (const name of names) {
      if (!Object.hasOwn(schema.properties ?? {}, name))
        report(place, { keyword: 'additionalProperties', name })
    }
  }
  for (const [name, one] of properties) {
    if (value[name] !== undefined)
      check({ schema: one, value: value[name], path: joinPath(path, name), faults })
  }
}
