/** What the sections of the configuration's JSON Schema are written with. */
// SPDX-License-Identifier: Apache-2.0

type SchemaType = 'object' | 'array' | 'string' | 'integer' | 'boolean'

export interface Schema {
  readonly type?: SchemaType | readonly SchemaType[]
  readonly description?: string
  readonly default?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly additionalProperties?: false
  readonly items?: Schema
  readonly minItems?: number
  readonly maxItems?: number
  readonly minLength?: number
  readonly minimum?: number
  readonly maximum?: number
  readonly minProperties?: number
  readonly maxProperties?: number
  readonly pattern?: string
  /** What the pattern asks for, behind "expected"; editors show it too. */
  readonly patternErrorMessage?: string
  readonly enum?: readonly string[]
  readonly examples?: readonly unknown[]
}

/** An object whose properties are all known: an unknown one is a fault, not a silent typo. */
export function object(
  description: string,
  properties: Readonly<Record<string, Schema>>,
  rest: Partial<Schema> = {},
): Schema {
  return { type: 'object', description, additionalProperties: false, properties, ...rest }
}

export function path(description: string): Schema {
  return {
    type: 'string',
    minLength: 1,
    description: `${description} Relative to the folder of the configuration file.`,
  }
}

/** A whole number and its unit, such as `200ms` or `5s`. */
export function duration(description: string, fallback: string): Schema {
  return {
    type: 'string',
    pattern: '^[0-9]{1,9}(ms|s|m|h)$',
    patternErrorMessage: 'a time such as 200ms, 5s, 5m or 1h',
    description,
    default: fallback,
  }
}

export function integer(
  description: string,
  range: { readonly minimum: number; readonly maximum: number; readonly default?: number },
): Schema {
  return { type: 'integer', description, ...range }
}

/** Names of AWS regions, one or more. */
export function regionNames(description: string): Schema {
  return {
    type: 'array',
    minItems: 1,
    items: {
      type: 'string',
      pattern: '^[a-z0-9-]{1,64}$',
      patternErrorMessage: 'a region such as eu-west-1',
    },
    description,
    examples: [['eu-west-1']],
  }
}
