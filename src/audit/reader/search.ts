/** Searches logs entry by entry, with memory use independent of their size. */
// SPDX-License-Identifier: Apache-2.0
import { setImmediate as nextTurn } from 'node:timers/promises'
import { TILE_WIDTH } from '../log/tiles.ts'
import type { HashPrincipal } from '../principal-hash.ts'
import { type AuditEntry, decodeEntry, fieldOf } from '../record.ts'
import { type OpenedLog, loadBundle, readEntries } from './log-reader.ts'

/** An entry must match every criterion that is set. */
export interface Filter {
  readonly kmsRequestId?: string | undefined
  /** An ARN, in which `*` matches any characters, or the hash of an ARN. */
  readonly principal?: string | undefined
  /** Hashes a full ARN, so that it is also found in logs with hashed principals. */
  readonly hashPrincipal?: HashPrincipal | undefined
  readonly keyStore?: string | undefined
  /** Key stores that a caller may see (default: all). */
  readonly keyStores?: readonly string[] | undefined
  readonly keyId?: string | undefined
  readonly operation?: string | undefined
  readonly outcome?: string | undefined
  readonly accessClass?: string | undefined
  /** Wall times in milliseconds since the Unix epoch; the end is exclusive. */
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
 * Yields the matching request entries, in log order.
 * @throws AuditError AUDIT_INVALID if a bundle is missing
 */
export function* searchLog(
  log: OpenedLog,
  filter: Filter,
  from = 0,
): Generator<FoundEntry, void, undefined> {
  const find = createFinder(filter)
  for (const { index, bytes } of readEntries(
    log.folder,
    log.checkpoint.size,
    Math.max(from, log.pruned),
  )) {
    const entry = find(bytes)
    if (entry !== undefined) yield { log, index, bytes, entry }
  }
}

export interface PageOrder {
  /** First index to read (default: the first entry). */
  readonly from?: number | undefined
  /** End index, exclusive (default: the log's size). */
  readonly before?: number | undefined
  /** Whether to read backward from the end, newest entries first. */
  readonly newest: boolean
  /** Maximum number of entries to return. */
  readonly limit: number
}

export interface PageEntry {
  readonly index: number
  readonly entry: AuditEntry
}

export interface EntryPage {
  /** Full name of the log. */
  readonly origin: string
  /** Number of entries that the checkpoint covers. */
  readonly size: number
  readonly entries: readonly PageEntry[]
  /**
   * Value of `from` for the next page or, if newest entries come first, of `before`; absent on the
   * last page.
   */
  readonly next?: number
}

/** Maximum number of bundles read per page, which limits the cost of a call that finds no match. */
const PAGE_BUNDLES = 200
/**
 * Number of entries examined in one turn of the event loop, which takes less than a millisecond.
 */
const TURN_ENTRIES = 32

/**
 * Reads part of a log in short event-loop turns, for a process that also serves requests.
 * @throws AuditError AUDIT_INVALID if a bundle is missing
 */
export async function searchPage(
  log: OpenedLog,
  filter: Filter,
  { from = 0, before = Infinity, newest, limit }: PageOrder,
): Promise<EntryPage> {
  const { origin, size } = log.checkpoint
  const find = createFinder(filter)
  const first = Math.max(from, log.pruned)
  const end = Math.min(before, size)
  const entries: PageEntry[] = []
  let at = newest ? end - 1 : first
  const isIn = (bundle: number) =>
    at >= first && at < end && Math.floor(at / TILE_WIDTH) === bundle && entries.length < limit
  for (let read = 0; read < PAGE_BUNDLES; read++) {
    const bundle = Math.floor(at / TILE_WIDTH)
    if (!isIn(bundle)) break
    const found = await loadBundle(log, bundle)
    for (let examined = 1; isIn(bundle); examined++) {
      const bytes = found[at % TILE_WIDTH]
      const entry = bytes && find(bytes)
      if (entry !== undefined) entries.push({ index: at, entry })
      at += newest ? -1 : 1
      if (examined % TURN_ENTRIES === 0) await nextTurn()
    }
  }
  const isDone = at < first || at >= end
  return { origin, size, entries, ...(isDone ? {} : { next: newest ? at + 1 : at }) }
}

/** Returns a function that decodes a request entry if it matches. */
function createFinder(filter: Filter): (bytes: Buffer) => AuditEntry | undefined {
  // Most entries do not contain the bytes that a match must contain, so they need not be parsed.
  const needles = FIELDS.flatMap(([name]) => {
    const wanted = filter[name]
    return wanted === undefined ? [] : [Buffer.from(JSON.stringify(wanted))]
  })
  const isPrincipal = toPrincipalTest(filter)
  return (bytes) => {
    if (!needles.every((one) => bytes.includes(one))) return undefined
    const entry = decodeEntry(bytes)
    if (entry?.kind !== 'request' || !matches(entry, filter)) return undefined
    return isPrincipal(entry) ? entry : undefined
  }
}

function matches(entry: AuditEntry, filter: Filter): boolean {
  const at = Date.parse(entry.time ?? '')
  if (filter.since !== undefined && !(at >= filter.since)) return false
  if (filter.until !== undefined && !(at < filter.until)) return false
  if (filter.keyStores?.includes(fieldOf(entry, 'keyStore')) === false) return false
  return FIELDS.every(([name, field]) => {
    const wanted = filter[name]
    return wanted === undefined || entry[field] === wanted
  })
}

function toPrincipalTest({ principal, hashPrincipal }: Filter): (entry: AuditEntry) => boolean {
  if (principal === undefined) return () => true
  const isLike = toPatternTest(principal)
  const hashed = principal.includes('*') ? undefined : hashPrincipal?.(principal)
  return (entry) => {
    const hash = entry['awsPrincipalHash']
    if (hash !== undefined) return hash === hashed || hash === principal
    return isLike(fieldOf(entry, 'awsPrincipalArn'))
  }
}

/**
 * Returns a pattern test that takes linear time. A regular expression with many `*` could block the
 * event loop.
 */
function toPatternTest(pattern: string): (text: string) => boolean {
  const [head = '', ...others] = pattern.split('*')
  const last = others.pop()
  if (last === undefined) return (text) => text === head
  return (text) => {
    if (!text.startsWith(head) || !text.endsWith(last)) return false
    let at = head.length
    for (const part of others) {
      const found = text.indexOf(part, at)
      if (found < 0) return false
      at = found + part.length
    }
    return at <= text.length - last.length
  }
}
