/**
 * Each setting is defined once, in its section: name, form, default, description, and the value
 * that the program uses. The JSON Schema, both types (as written and as used) and the documents are
 * derived from it.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../core/secret.ts'

type SchemaType = 'object' | 'array' | 'string' | 'integer' | 'boolean'

/** The subset of JSON Schema used here. */
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
  /** Describes the pattern in words. It follows "expected" in an error, and editors also show it. */
  readonly patternErrorMessage?: string
  readonly enum?: readonly string[]
  readonly examples?: readonly unknown[]
}

/** The source of a secret; exactly one property is set. */
export interface SecretSource {
  readonly file?: string
  readonly env?: string
  /** A program and its arguments; the secret is its standard output. */
  readonly exec?: readonly string[]
}

/** Receives the errors and secrets found while traversing a configuration. */
export interface Visitor {
  fault(path: string, message: string): void
  secret(path: string, source: SecretSource): void
}

/** Context for converting a file's values. */
export interface Conversion {
  /** Resolves a path relative to the file. */
  readonly absolute: (relative: string) => string
  /** Secrets by the path of their setting. */
  readonly secrets: ReadonlyMap<string, Secret>
  /** The environment for PKCS#11 modules, without the variables that held secrets. */
  readonly environment: Readonly<Record<string, string>>
}

/**
 * `Raw` is the value in the file, after schema validation and with defaults. `Value` is the value
 * that the program uses. The program's property name has `Suffix` appended: `interval` in the file
 * is `intervalMs` in the program.
 */
export interface Setting<
  Raw,
  Value,
  Suffix extends string = '',
  IsOptional extends boolean = false,
> {
  readonly schema: Schema
  readonly suffix: Suffix
  /** Whether the setting may be omitted although it has no default. */
  readonly isOptional: IsOptional
  readonly convert: (raw: Raw, path: string, conversion: Conversion) => Value
  /** Reports errors that the schema cannot express, and every secret. */
  readonly visit: (raw: Raw, path: string, visitor: Visitor) => void
}

export type AnySetting = Setting<never, unknown, string, boolean>
type Properties = Readonly<Record<string, AnySetting>>

export type RawOf<S> = S extends Setting<infer Raw, unknown, string, boolean> ? Raw : never
export type ValueOf<S> = S extends Setting<never, infer Value, string, boolean> ? Value : never
type OptionalKeys<P extends Properties> = {
  [K in keyof P]: P[K]['isOptional'] extends true ? K : never
}[keyof P]
type RequiredKeys<P extends Properties> = Exclude<keyof P, OptionalKeys<P>>
type Used<P extends Properties, K extends keyof P> = `${K & string}${P[K]['suffix']}`
type Simplify<T> = { [K in keyof T]: T[K] }

type RawObject<P extends Properties> = Simplify<
  { readonly [K in RequiredKeys<P>]: RawOf<P[K]> } & {
    readonly [K in OptionalKeys<P>]?: RawOf<P[K]>
  }
>
type ValueObject<P extends Properties> = Simplify<
  { readonly [K in RequiredKeys<P> as Used<P, K>]: ValueOf<P[K]> } & {
    readonly [K in OptionalKeys<P> as Used<P, K>]?: ValueOf<P[K]>
  }
>

const nothing = () => undefined

/** Returns a setting whose value the program uses as written. */
export function plain<T>(schema: Schema): Setting<T, T> {
  return { schema, suffix: '', isOptional: false, convert: (raw) => raw, visit: nothing }
}

export function optional<Raw, Value, Suffix extends string>(
  setting: Setting<Raw, Value, Suffix, boolean>,
): Setting<Raw, Value, Suffix, true> {
  return { ...setting, schema: withoutDefault(setting.schema), isOptional: true }
}

function withoutDefault(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([name]) => name !== 'default'))
}

/** Returns the same setting with its value converted to another form. */
export function converted<Raw, Value, Suffix extends string, O extends boolean, Other>(
  setting: Setting<Raw, Value, Suffix, O>,
  convert: (value: Value, conversion: Conversion) => Other,
): Setting<Raw, Other, Suffix, O> {
  return {
    ...setting,
    convert: (raw, path, conversion) => convert(setting.convert(raw, path, conversion), conversion),
  }
}

const join = (path: string, name: string) => (path === '' ? name : `${path}.${name}`)

/**
 * Returns a setting for an object whose properties are all known. An unknown property is reported
 * as an error, because it may be a typo. An object without required properties may be omitted, and
 * all its defaults then apply.
 */
export function object<const P extends Properties>(
  description: string,
  properties: P,
): Setting<RawObject<P>, ValueObject<P>> {
  const entries = Object.entries<AnySetting>(properties)
  const required = entries
    .filter(([, { isOptional, schema }]) => !isOptional && schema.default === undefined)
    .map(([name]) => name)
  type Values = Readonly<Record<string, never>>
  const present = (raw: Values) => entries.filter(([name]) => Object.hasOwn(raw, name))
  return {
    schema: {
      type: 'object',
      description,
      additionalProperties: false,
      properties: Object.fromEntries(entries.map(([name, { schema }]) => [name, schema])),
      ...(required.length === 0 ? { default: {} } : { required }),
    },
    suffix: '',
    isOptional: false,
    convert: (raw, path, conversion) =>
      Object.fromEntries(
        present(raw as Values).map(([name, { suffix, convert }]) => [
          name + suffix,
          convert((raw as Values)[name] as never, join(path, name), conversion),
        ]),
      ) as ValueObject<P>,
    visit(raw, path, visitor) {
      for (const [name, setting] of present(raw as Values)) {
        setting.visit((raw as Values)[name] as never, join(path, name), visitor)
      }
    },
  }
}

/** Returns a setting for an object with exactly one of its properties set. */
export function oneOf<const P extends Properties>(
  description: string,
  properties: P,
): Setting<RawObject<P>, ValueObject<P>> {
  const setting = object(description, properties)
  const schema = withoutDefault(setting.schema)
  return { ...setting, schema: { ...schema, minProperties: 1, maxProperties: 1 } }
}

export function list<Raw, Value>(
  description: string,
  item: Setting<Raw, Value, string, boolean>,
  rest: Partial<Schema> = {},
): Setting<readonly Raw[], readonly Value[]> {
  const at = (path: string, index: number) => `${path}[${String(index)}]`
  return {
    schema: { type: 'array', description, items: item.schema, ...rest },
    suffix: '',
    isOptional: false,
    convert: (raw, path, conversion) =>
      raw.map((one, i) => item.convert(one, at(path, i), conversion)),
    visit(raw, path, visitor) {
      raw.forEach((one, i) => {
        item.visit(one, at(path, i), visitor)
      })
    },
  }
}
