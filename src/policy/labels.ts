/** Parses the document `labels`, which assigns groups and tags to keys. */
// SPDX-License-Identifier: Apache-2.0
import { parseDocument } from 'yaml'
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

/**
 * A key has the groups and tags of every entry that names it. If two tags have the same name, the
 * later entry wins.
 * @throws PolicyError POLICY_INVALID
 */
export function parseLabels(text: string): Labels {
  const faults: PolicyFault[] = []
  const fault = (message: string) => faults.push({ path: LABELS, message })
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true })
  for (const { message } of document.errors) fault(message.split('\n')[0] ?? '')
  const entries = faults.length > 0 ? [] : readEntries(document.toJS({ maxAliasCount: 0 }), fault)
  if (faults.length > 0) {
    throw new PolicyError('POLICY_INVALID', faults.map(({ message }) => message).join('; '), {
      faults,
    })
  }
  const known = new Map<string, KeyLabels>()
  return {
    of(keyStore, keyId) {
      const key = `${keyStore}/${keyId}`
      let labels = known.get(key)
      if (labels === undefined) {
        labels = merge(entries.filter(({ pattern }) => matches(pattern, key)))
        if (known.size >= MAX_KNOWN) known.clear()
        known.set(key, labels)
      }
      return labels
    },
  }
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

function matches(pattern: string, key: string): boolean {
  return pattern.endsWith('*') ? key.startsWith(pattern.slice(0, -1)) : key === pattern
}

function merge(entries: readonly Entry[]): KeyLabels {
  if (entries.length === 0) return NONE
  return {
    groups: [...new Set(entries.flatMap(({ groups }) => groups))],
    tags: Object.assign({}, ...entries.map(({ tags }) => tags)) as Record<string, string>,
  }
}
