/** Everything that is wrong with a configuration, said at once and in the words of its file. */
// SPDX-License-Identifier: Apache-2.0
import type { ErrorObject } from 'ajv'
import { LatchkeyError } from '../base/errors.ts'

export interface Fault {
  /** As one would write it: `keyStores[2].prefix`; empty for the file as a whole. */
  readonly path: string
  /** What was expected, and what was found. */
  readonly message: string
}

export class ConfigError extends LatchkeyError<'CONFIG_INVALID' | 'CONFIG_UNREADABLE'> {
  override readonly name = 'ConfigError'
  readonly faults: readonly Fault[]

  constructor(file: string, faults: readonly Fault[]) {
    const lines = faults.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`))
    super('CONFIG_INVALID', `${file}: ${lines.join('; ')}`)
    this.faults = faults
  }
}

/** `/keyStores/2/prefix` becomes `keyStores[2].prefix`. */
function toPath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '')
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}

function show(value: unknown): string {
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

/** @param knownNames the property names that the schema has at the place of the error */
export function toFault(error: ErrorObject, knownNames: readonly string[]): Fault {
  const path = toPath(error.instancePath)
  const parameters = error.params as Record<string, unknown>
  const found = `found ${show(error.data)}`
  switch (error.keyword) {
    case 'additionalProperties': {
      const name = String(parameters['additionalProperty'])
      const near = findNearest(name, knownNames)
      const hint =
        near === undefined ? `known are ${knownNames.join(', ')}` : `did you mean ${near}?`
      return { path: join(path, name), message: `is not a known setting; ${hint}` }
    }
    case 'required':
      return { path: join(path, String(parameters['missingProperty'])), message: 'is missing' }
    case 'enum':
      return {
        path,
        message: `expected one of ${(parameters['allowedValues'] as string[]).join(', ')}, ${found}`,
      }
    case 'pattern':
      return { path, message: `expected the form ${String(parameters['pattern'])}, ${found}` }
    case 'type':
      return { path, message: `expected ${String(parameters['type'])}, ${found}` }
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

/** The known name that at most three edits turn `name` into. */
function findNearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({
      candidate,
      edits: editDistance(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .sort((a, b) => a.edits - b.edits)
  const [best] = ranked
  return best !== undefined && best.edits <= 3 ? best.candidate : undefined
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
