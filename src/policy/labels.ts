/** Parses the document `labels`, which assigns groups and tags to keys. */
// SPDX-License-Identifier: Apache-2.0
import { type Document, isScalar, LineCounter, parseDocument, visit } from 'yaml'
import { PolicyError, type PolicyFault } from './cedar.ts'

/** Name of the only document that is written in YAML rather than Cedar. */
export const LABELS = 'labels'

export interface KeyLabels {
  readonly groups: readonly string[]
  readonly tags: Readonly<Record<string, string>>
}

export interface Labels {
  of(keyStore: string, keyId: string): KeyLabels
}

const NONE: KeyLabels = { groups: [], tags: {} }
export const NO_LABELS: Labels = { of: () => NONE }

/** `KEY_STORE/KEY_ID`, or `KEY_STORE/PREFIX*`. */
const PATTERN = /^[a-z0-9][a-z0-9-]{0,63}\/[A-Za-z0-9._-]{0,128}\*?$/
const NAME = /^[A-Za-z0-9._/-]{1,128}$/
/** Maximum number of cached results. */
const MAX_KNOWN = 10_000

interface Entry extends KeyLabels {
  readonly pattern: string
}

/** The text that was parsed last, because a server and each page of its lists need the same labels. */
let latest: { readonly text: string; readonly labels: Labels } | undefined

/**
 * A key has the groups and tags of every entry that names it. If two tags have the same name, the
 * later entry wins.
 * @throws PolicyError POLICY_INVALID
 */
export function parseLabels(text: string): Labels {
  if (latest?.text !== text) latest = { text, labels: parseText(text) }
  return latest.labels
}

function parseText(text: string): Labels {
  const faults: PolicyFault[] = []
  const fault = (message: string) => faults.push({ path: LABELS, message })
  const lineCounter = new LineCounter()
  // With `uniqueKeys`, the time to parse a list of keys would grow with the square of its length.
  const document = parseDocument(text, { uniqueKeys: false, prettyErrors: true, lineCounter })
  for (const { message } of document.errors) fault(message.split('\n')[0] ?? '')
  for (const message of findRepeatedKeys(document, lineCounter)) fault(message)
  const entries = faults.length > 0 ? [] : readEntries(document.toJS({ maxAliasCount: 0 }), fault)
  if (faults.length > 0) {
    throw new PolicyError('POLICY_INVALID', faults.map(({ message }) => message).join('; '), {
      faults,
    })
  }
  const find = indexEntries(entries)
  const known = new Map<string, KeyLabels>()
  return {
    of(keyStore, keyId) {
      const key = `${keyStore}/${keyId}`
      let labels = known.get(key)
      if (labels === undefined) {
        labels = merge(find(key))
        if (known.size >= MAX_KNOWN) known.clear()
        known.set(key, labels)
      }
      return labels
    },
  }
}

/** Returns one sentence for each key that a map contains more than once. */
function findRepeatedKeys(document: Document, lines: LineCounter): readonly string[] {
  const found: string[] = []
  visit(document, {
    Map(_, { items }) {
      const seen = new Set<unknown>()
      for (const { key } of items) {
        if (!isScalar(key)) continue
        if (seen.has(key.value)) {
          const { line, col } = lines.linePos(key.range?.[0] ?? 0)
          found.push(`Map keys must be unique at line ${String(line)}, column ${String(col)}:`)
        }
        seen.add(key.value)
      }
    },
  })
  return found
}

function readEntries(value: unknown, fault: (message: string) => void): readonly Entry[] {
  if (!isRecord(value)) {
    fault('expected keys such as payroll/key-1, each with groups or tags')
    return []
  }
  return Object.entries(value).map(([pattern, labels]) => {
    if (!PATTERN.test(pattern)) {
      fault(`${pattern}: expected KEY_STORE/KEY_ID, or KEY_STORE/PREFIX*`)
    }
    const { groups = [], tags = {}, ...rest } = isRecord(labels) ? labels : { none: labels }
    const [unknown] = Object.keys(rest)
    if (unknown !== undefined) fault(`${pattern}: expected groups, tags or both`)
    if (!Array.isArray(groups) || !groups.every((one) => typeof one === 'string' && NAME.test(one)))
      fault(`${pattern}.groups: expected a list of names`)
    const isTags = isRecord(tags) && Object.values(tags).every((one) => typeof one === 'string')
    if (!isTags) fault(`${pattern}.tags: expected names with string values`)
    return { pattern, groups, tags } as Entry
  })
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Returns a function that finds the entries for a key, in the order of the document. */
function indexEntries(entries: readonly Entry[]): (key: string) => readonly Entry[] {
  const ranked = entries.map((entry, rank) => ({ entry, rank, pattern: entry.pattern }))
  const exact = new Map(ranked.map((one) => [one.pattern, one]))
  const prefixes = ranked
    .filter(({ pattern }) => pattern.endsWith('*'))
    .map((one) => ({ ...one, prefix: one.pattern.slice(0, -1) }))
  return (key) => {
    const own = exact.get(key)
    const found = prefixes.filter(({ prefix }) => key.startsWith(prefix))
    return [...found, ...(own === undefined ? [] : [own])]
      .sort((a, b) => a.rank - b.rank)
      .map(({ entry }) => entry)
  }
}

function merge(entries: readonly Entry[]): KeyLabels {
  if (entries.length === 0) return NONE
  return {
    groups: [...new Set(entries.flatMap(({ groups }) => groups))],
    tags: Object.assign({}, ...entries.map(({ tags }) => tags)) as Record<string, string>,
  }
}
