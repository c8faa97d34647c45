/** Searches logs entry by entry, with memory use independent of their size. */
// SPDX-License-Identifier: Apache-2.0
import type { HashPrincipal } from '../principal-hash.ts'
import { type AuditEntry, decodeEntry, fieldOf } from '../record.ts'
import { type OpenedLog, readEntries } from './log-reader.ts'

/** An entry must match every criterion that is set. */
export interface Filter {
  readonly kmsRequestId?: string | undefined
  /** An ARN, in which `*` matches any characters, or the hash of an ARN. */
  readonly principal?: string | undefined
  /** Hashes a full ARN, so that it is also found in logs with hashed principals. */
  readonly hashPrincipal?: HashPrincipal | undefined
  readonly keyStore?: string | undefined
  readonly keyId?: string | undefined
  readonly operation?: string | undefined
  readonly outcome?: string | undefined
  readonly accessClass?: string | undefined
  /** Wall times in milliseconds since the Unix epoch; the end is not included. */
  readonly since?: number | undefined
  readonly until?: number | undefined
}

export interface FoundEntry {
  readonly log: OpenedLog
  readonly index: number
  readonly bytes: Buffer
  readonly entry: AuditEntry
}

const FIELDS = [
  ['kmsRequestId', 'kmsRequestId'],
  ['keyStore', 'keyStore'],
  ['keyId', 'keyId'],
  ['operation', 'operation'],
  ['outcome', 'outcome'],
  ['accessClass', 'accessClass'],
] as const satisfies readonly (readonly [keyof Filter, string])[]

/**
 * Returns the entries of requests that match, in the order of the log.
 * @throws AuditError AUDIT_INVALID for a bundle that is missing
 */
export function* searchLog(
  log: OpenedLog,
  filter: Filter,
  from = 0,
): Generator<FoundEntry, void, undefined> {
  // Most entries lack the bytes that a match contains, and need not be parsed.
  const needles = FIELDS.flatMap(([name]) => {
    const wanted = filter[name]
    return wanted === undefined ? [] : [Buffer.from(JSON.stringify(wanted))]
  })
  const isPrincipal = toPrincipalTest(filter)
  for (const { index, bytes } of readEntries(
    log.folder,
    log.checkpoint.size,
    Math.max(from, log.pruned),
  )) {
    if (!needles.every((one) => bytes.includes(one))) continue
    const entry = decodeEntry(bytes)
    if (entry?.kind !== 'request' || !matches(entry, filter)) continue
    if (!isPrincipal(entry)) continue
    yield { log, index, bytes, entry }
  }
}

function matches(entry: AuditEntry, filter: Filter): boolean {
  const at = Date.parse(entry.time ?? '')
  if (filter.since !== undefined && !(at >= filter.since)) return false
  if (filter.until !== undefined && !(at < filter.until)) return false
  return FIELDS.every(([name, field]) => {
    const wanted = filter[name]
    return wanted === undefined || entry[field] === wanted
  })
}

function toPrincipalTest({ principal, hashPrincipal }: Filter): (entry: AuditEntry) => boolean {
  if (principal === undefined) return () => true
  const pattern = toPattern(principal)
  const hashed = principal.includes('*') ? undefined : hashPrincipal?.(principal)
  return (entry) => {
    const hash = entry['awsPrincipalHash']
    if (hash !== undefined) return hash === hashed || hash === principal
    return pattern.test(fieldOf(entry, 'awsPrincipalArn'))
  }
}

function toPattern(text: string): RegExp {
  const parts = text.split('*').map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
  return new RegExp(`^${parts.join('.*')}$`)
}
