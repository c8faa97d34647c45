/** Reports all errors in a configuration at once, in the terms of its file. */
// SPDX-License-Identifier: Apache-2.0
import type { ErrorObject } from 'ajv'
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'
import { suggest } from '../core/suggest.ts'

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

/** Converts `/keyStores/2/prefix` to `keyStores[2].prefix`. */
function toPath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '')
}

/** Names of JSON Schema types in words that readers of a YAML file understand. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ['object', 'settings, one per line'],
  ['array', 'a list'],
  ['string', 'a string'],
  ['integer', 'a whole number'],
  ['boolean', 'true or false'],
])

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}

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

/** @param knownNames property names that the schema allows where the error occurred */
export function toFault(error: ErrorObject, knownNames: readonly string[]): Fault {
  const path = toPath(error.instancePath)
  const parameters = error.params as Record<string, unknown>
  const found = `found ${show(error.data)}`
  switch (error.keyword) {
    case 'additionalProperties': {
      const name = String(parameters['additionalProperty'])
      const near = suggest(name, knownNames)
      const hint =
        near === undefined ? `expected one of ${knownNames.join(', ')}` : `did you mean ${near}?`
      return { path: join(path, name), message: `is not a known setting; ${hint}` }
    }
    case 'required':
      return { path: join(path, String(parameters['missingProperty'])), message: 'is missing' }
    case 'enum':
      return {
        path,
        message: `expected one of ${(parameters['allowedValues'] as string[]).join(', ')}, ${found}`,
      }
    case 'pattern': {
      const { patternErrorMessage: form } = error.parentSchema as { patternErrorMessage?: string }
      return {
        path,
        message: `expected ${form ?? `a value that matches ${String(parameters['pattern'])}`}, ${found}`,
      }
    }
    case 'type': {
      const type = String(parameters['type'])
      const { patternErrorMessage: form } = error.parentSchema as { patternErrorMessage?: string }
      // Several types are allowed here, so the pattern's description says what is expected.
      if (Array.isArray(parameters['type'])) {
        return { path, message: `expected ${form ?? type}, ${found}` }
      }
      // YAML has already dropped leading zeros, so the number differs from the text in the file.
      if (type === 'string' && typeof error.data === 'number') {
        return {
          path,
          message:
            form === undefined
              ? 'expected a string, found a number; put the value in quotes'
              : `expected ${form}, ${found}`,
        }
      }
      const isSection = type === 'object' || type === 'array'
      return {
        path,
        message: `expected ${TYPES.get(type) ?? type}, found ${isSection ? showType(error.data) : show(error.data)}`,
      }
    }
    case 'minLength':
    case 'minItems':
      return { path, message: 'is empty' }
    case 'maxItems':
      return { path, message: `expected at most ${String(parameters['limit'])} entries` }
    case 'minimum':
      return { path, message: `expected at least ${String(parameters['limit'])}, ${found}` }
    case 'maximum':
      return { path, message: `expected at most ${String(parameters['limit'])}, ${found}` }
    case 'minProperties':
    case 'maxProperties':
      return { path, message: `expected exactly one of ${knownNames.join(', ')}` }
    default:
      return { path, message: `${error.message ?? 'is not valid'}, ${found}` }
  }
}
