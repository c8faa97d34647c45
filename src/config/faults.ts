/** Reports all errors in a configuration at once, in the terms of its file. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'
import { suggest } from '../core/suggest.ts'
import { joinPath, type Schema } from './setting.ts'

export interface Fault {
  /** Path as written in the file, such as `keyStores[2].prefix`; empty for the file as a whole. */
  readonly path: string
  /** Message that says what was expected and what was found. */
  readonly message: string
}

export class ConfigError extends LatchkeyError<'CONFIG_INVALID'> {
  override readonly name = 'ConfigError'
  /** The path as the user gave it. */
  readonly file: string
  readonly faults: readonly Fault[]

  constructor(file: string, faults: readonly Fault[], options: ErrorOptionsWithHint = {}) {
    const lines = faults.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
    super('CONFIG_INVALID', `${file}: ${lines.join('; ')}`, options)
    this.file = file
    this.faults = faults
  }
}

/** Names of JSON Schema types in words that readers of a YAML file understand. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ['object', 'settings, one per line'],
  ['array', 'a list'],
  ['string', 'a string'],
  ['integer', 'a whole number'],
  ['boolean', 'true or false'],
])

/** Lists and settings are described rather than quoted, because they may contain a secret. */
function show(value: unknown): string {
  if (value === undefined || typeof value === 'object') return showType(value)
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

/** Shows only the type: a passphrase written in the wrong place must not end up in a log. */
function showType(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  return typeof value === 'object' ? 'settings' : `a ${typeof value}`
}

/** A value that does not match its schema. */
export interface SchemaError {
  /** The keyword of the schema that the value does not satisfy. */
  readonly keyword: Exclude<
    keyof Schema,
    'description' | 'default' | 'properties' | 'items' | 'patternErrorMessage' | 'examples'
  >
  readonly path: string
  readonly schema: Schema
  readonly value: unknown
  /** The property that is missing or unknown, for `required` and `additionalProperties`. */
  readonly name?: string
}

export function toFault({ keyword, path, schema, value, name = '' }: SchemaError): Fault {
  const knownNames = Object.keys(schema.properties ?? {})
  const found = `found ${show(value)}`
  switch (keyword) {
    case 'additionalProperties': {
      const near = suggest(name, knownNames)
      const hint =
        near === undefined ? `expected one of ${knownNames.join(', ')}` : `did you mean ${near}?`
      return { path: joinPath(path, name), message: `is not a known setting; ${hint}` }
    }
    case 'required':
      return { path: joinPath(path, name), message: 'is missing' }
    case 'enum':
      return { path, message: `expected one of ${(schema.enum ?? []).join(', ')}, ${found}` }
    case 'pattern': {
      const form = schema.patternErrorMessage ?? `a value that matches ${schema.pattern ?? ''}`
      return { path, message: `expected ${form}, ${found}` }
    }
    case 'type':
      return { path, message: toTypeMessage(schema, value) }
    case 'minLength':
    case 'minItems':
      return { path, message: 'is empty' }
    case 'maxItems':
      return { path, message: `expected at most ${String(schema.maxItems)} entries` }
    case 'minimum':
      return { path, message: `expected at least ${String(schema.minimum)}, ${found}` }
    case 'maximum':
      return { path, message: `expected at most ${String(schema.maximum)}, ${found}` }
    case 'minProperties':
    case 'maxProperties':
      return { path, message: `expected exactly one of ${knownNames.join(', ')}` }
  }
}

function toTypeMessage({ type, patternErrorMessage: form }: Schema, value: unknown): string {
  // Several types are allowed here, so the pattern's description says what is expected.
  if (typeof type !== 'string') return `expected ${form ?? String(type)}, found ${show(value)}`
  // YAML has already dropped leading zeros, so the number differs from the text in the file.
  if (type === 'string' && typeof value === 'number') {
    return form === undefined
      ? 'expected a string, found a number; put the value in quotes'
      : `expected ${form}, found ${show(value)}`
  }
  const isSection = type === 'object' || type === 'array'
  return `expected ${TYPES.get(type) ?? type}, found ${isSection ? showType(value) : show(value)}`
}
