/**
 * Overrides settings with environment variables: LATCHKEY_LISTENER__PORT sets `listener.port`. The
 * schema determines what a variable may name, and how its text is read.
 */
// SPDX-License-Identifier: Apache-2.0
import { parseDocument } from 'yaml'
import { suggest } from '../core/suggest.ts'
import type { Fault } from './faults.ts'
import { CONFIG_SCHEMA } from './schema.ts'
import type { Schema } from './setting.ts'

const PREFIX = 'LATCHKEY_'
const SEPARATOR = '__'
/** The value that removes a setting from the file. */
const REMOVED = 'null'

export interface Overridden {
  /** A copy of the file's contents with the overrides. The original value is not changed. */
  readonly value: unknown
  readonly faults: readonly Fault[]
  /** Maps the path of each setting to the name of the environment variable that sets it. */
  readonly origins: ReadonlyMap<string, string>
}

/** @param value contents of the file, before validation */
export function overrideFromEnvironment(
  value: unknown,
  environment: NodeJS.ProcessEnv,
): Overridden {
  const faults: Fault[] = []
  const origins = new Map<string, string>()
  let result = value
  for (const { variable, text, segments } of findVariables(environment)) {
    const place = locate(segments, variable)
    if ('message' in place) {
      faults.push(place)
      continue
    }
    const read = readValue(text, place.schema)
    if ('problem' in read) {
      faults.push({ path: place.path, message: `${read.problem} (${variable})` })
      continue
    }
    result = setAt(result, place.steps, read.value)
    origins.set(place.path, variable)
  }
  return { value: result, faults, origins }
}

/** Adds the variable's name to an error about a setting that came from the environment. */
export function nameOrigin(fault: Fault, origins: ReadonlyMap<string, string>): Fault {
  const found = [...origins].find(
    ([path]) =>
      fault.path === path || fault.path.startsWith(`${path}.`) || fault.path.startsWith(`${path}[`),
  )
  return found === undefined ? fault : { ...fault, message: `${fault.message} (${found[1]})` }
}

interface Variable {
  readonly variable: string
  readonly text: string
  readonly segments: readonly string[]
}

/**
 * Returns the variables that name settings, entire sections before the settings in them. Other
 * variables with the prefix are ignored, because Kubernetes sets LATCHKEY_PORT for a service named
 * latchkey. An empty variable counts as not set.
 */
function findVariables(environment: NodeJS.ProcessEnv): readonly Variable[] {
  const sections = new Set(Object.keys(CONFIG_SCHEMA.properties ?? {}).map(toSegment))
  return Object.entries(environment)
    .flatMap(([variable, text = '']) => {
      if (!variable.startsWith(PREFIX) || text === '') return []
      const segments = variable.slice(PREFIX.length).split(SEPARATOR)
      const isSetting = segments.length > 1 || sections.has(segments[0] ?? '')
      return isSetting ? [{ variable, text, segments }] : []
    })
    .sort((a, b) => a.segments.length - b.segments.length || (a.variable < b.variable ? -1 : 1))
}

/** Converts `maxConnections` to `MAX_CONNECTIONS`. */
export function toSegment(name: string): string {
  return name.replace(/[A-Z]/g, '_$&').toUpperCase()
}

/** One step on the path from a value to one of its parts. */
type Step =
  | { readonly kind: 'entry'; readonly index: number }
  | { readonly kind: 'property'; readonly name: string; readonly isChoice: boolean }

interface Place {
  readonly path: string
  readonly steps: readonly Step[]
  readonly schema: Schema
}

function locate(segments: readonly string[], variable: string): Place | Fault {
  let schema: Schema = CONFIG_SCHEMA
  let path = ''
  const steps: Step[] = []
  for (const [i, segment] of segments.entries()) {
    if (schema.items !== undefined) {
      if (!/^\d{1,4}$/.test(segment)) {
        return {
          path,
          message: `${variable}: expected the index of an entry (0 or higher), found ${segment}`,
        }
      }
      steps.push({ kind: 'entry', index: Number(segment) })
      path = `${path}[${String(Number(segment))}]`
      schema = schema.items
      continue
    }
    const properties = schema.properties ?? {}
    const name = Object.keys(properties).find((one) => toSegment(one) === segment)
    const child = name === undefined ? undefined : properties[name]
    if (name === undefined || child === undefined) {
      return { path, message: describeUnknown(variable, segments.slice(0, i), segment, properties) }
    }
    steps.push({ kind: 'property', name, isChoice: schema.maxProperties === 1 })
    path = path === '' ? name : `${path}.${name}`
    schema = child
  }
  return { path, steps, schema }
}

function describeUnknown(
  variable: string,
  before: readonly string[],
  segment: string,
  properties: Readonly<Record<string, Schema>>,
): string {
  const known = Object.keys(properties).map(toSegment)
  const full = (name: string) => `${PREFIX}${[...before, name].join(SEPARATOR)}`
  if (known.length === 0)
    return `${variable} is not a known setting; ${PREFIX}${before.join(SEPARATOR)} has no nested settings`
  const near = suggest(segment, known)
  return near === undefined
    ? `${variable} is not a known setting; expected one of ${known.join(', ')}`
    : `${variable} is not a known setting; did you mean ${full(near)}?`
}

type Read = { readonly value: unknown } | { readonly problem: string }

/**
 * Strings are used unchanged, lists of strings may be comma-separated, and everything else is read
 * as YAML, which includes JSON.
 */
function readValue(text: string, schema: Schema): Read {
  if (text === REMOVED) return { value: undefined }
  if (schema.type === 'string') return { value: text }
  if (schema.items?.type === 'string' && !text.trimStart().startsWith('[')) {
    return { value: text.split(',').map((one) => one.trim()) }
  }
  const document = parseDocument(text, { uniqueKeys: true })
  const [problem] = document.errors
  if (problem !== undefined) return { problem: problem.message.split('\n')[0] ?? '' }
  return { value: document.toJS() as unknown }
}

/** Returns a copy of `whole` in which the part at `steps` is `value`. */
function setAt(whole: unknown, steps: readonly Step[], value: unknown): unknown {
  const [step, ...rest] = steps
  if (step === undefined) return value
  if (step.kind === 'entry') {
    const entries: unknown[] = Array.isArray(whole) ? [...(whole as unknown[])] : []
    // Fill a gap with null, which the schema then reports with its path.
    while (entries.length < step.index) entries.push(null)
    const changed = setAt(entries[step.index], rest, value)
    if (changed === undefined) entries.splice(step.index, 1)
    else entries[step.index] = changed
    return entries
  }
  const isSettings = typeof whole === 'object' && whole !== null && !Array.isArray(whole)
  const settings = isSettings ? (whole as Readonly<Record<string, unknown>>) : {}
  const changed = setAt(settings[step.name], rest, value)
  const others = Object.entries(settings).filter(
    // Only one property of a choice may be set, so the property that the variable sets replaces the
    // one in the file.
    ([name]) => name !== step.name && !(step.isChoice && changed !== undefined),
  )
  return Object.fromEntries(changed === undefined ? others : [...others, [step.name, changed]])
}
