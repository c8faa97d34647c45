/**
 * Decides whether a request breaks a rule. The code is pure: it does no I/O and reads no clock, so
 * that a server, a simulation and a test make the same decisions.
 */
// SPDX-License-Identifier: Apache-2.0
import { toCaller } from '../core/caller.ts'
import { type Subject, type Trip, type TripwireRule } from './rule.ts'
import { WindowCount } from './window-count.ts'

/** A finished request that the server either served or refused because of its caller. */
export interface Observation {
  readonly keyStore: string
  readonly keyId: string
  readonly operation: string
  /** The request's awsPrincipalArn. */
  readonly principal: string
  readonly accessClass: string
  readonly isAllowed: boolean
}

export interface DetectorOptions {
  readonly rules: readonly TripwireRule[]
  /**
   * Maximum number of subjects that each rule remembers. Above this number, the rule evicts the
   * least recently active subject.
   */
  readonly maxSubjects: number
  /** Number of processes that share the load: each applies an equal share of a count limit. */
  readonly shares?: () => number
  /**
   * Returns the end of a key store's learning period, during which its callers and classes are
   * learned without causing a trip.
   */
  readonly learnUntil?: (keyStore: string) => number
  /**
   * How long, in milliseconds, a rule relearns a subject's callers or classes when it may have
   * forgotten them. The period is never shorter than the rule's window.
   */
  readonly learningMs: number
}

export interface Detector {
  /** @param at milliseconds since an arbitrary origin; should not decrease */
  observe(request: Observation, at: number, onTrip: (trip: Trip) => void): void
  /**
   * Processes earlier requests without reporting trips: counts them, and learns their callers and
   * classes.
   */
  recall(request: Observation, at: number, count: number): void
  /**
   * Suppresses trips of the rule for this subject until `until`, because one was already reported.
   */
  quiet(rule: string, subject: Subject, until: number): void
  /** Number of subjects evicted because there were too many. */
  readonly forgotten: number
}

/** Maximum number of names remembered per subject. Further names do not count as new. */
const MAX_KNOWN = 10_000

interface Entry {
  readonly count: WindowCount
  /** Count of all requests, used to compute a share. */
  readonly all: WindowCount | undefined
  /** Callers or classes seen so far. */
  readonly known: Set<string> | undefined
  quietUntil: number
  /**
   * Time until which names are learned without causing a trip; undefined until the first request
   * sets it. Once a rule has evicted a subject, any unknown subject may be an evicted one, whose
   * names only seem new.
   */
  learnUntil: number | undefined
}

interface CompiledRule {
  readonly rule: TripwireRule
  /** Subjects in order of last use. */
  readonly entries: Map<string, Entry>
  hasForgotten: boolean
}

export function createDetector(options: DetectorOptions): Detector {
  const { maxSubjects, shares = () => 1, learnUntil = () => -Infinity, learningMs } = options
  const compiled: readonly CompiledRule[] = options.rules.map((rule) => ({
    rule,
    entries: new Map<string, Entry>(),
    hasForgotten: false,
  }))
  let forgotten = 0

  function entryOf(one: CompiledRule, name: string): Entry {
    const { rule, entries } = one
    const found = entries.get(name)
    if (found === undefined && entries.size >= maxSubjects) {
      for (const oldest of entries.keys()) {
        entries.delete(oldest)
        forgotten += 1
        one.hasForgotten = true
        break
      }
    }
    const entry = found ?? createEntry(rule, one.hasForgotten)
    if (found !== undefined) entries.delete(name)
    entries.set(name, entry)
    return entry
  }

  /** Reports whether a subject's names are being learned without causing a trip. */
  function learns({ rule }: CompiledRule, entry: Entry, keyStore: string, at: number): boolean {
    entry.learnUntil ??= at + Math.max(learningMs, rule.windowMs)
    return at < entry.learnUntil || at < learnUntil(keyStore)
  }

  /**
   * Returns the entry if the request changed the value that the rule measures.
   * @param isPast whether this is a recalled request, whose names are only learned
   */
  function take(
    one: CompiledRule,
    request: Observation,
    at: number,
    count: number,
    isPast: boolean,
  ) {
    const { rule } = one
    if (!isCounted(rule, request)) return undefined
    const entry = entryOf(one, nameOf(rule, request))
    if (entry.known !== undefined) {
      const name =
        rule.measure === 'newPrincipals' ? toCaller(request.principal) : request.accessClass
      if (entry.known.has(name) || entry.known.size >= MAX_KNOWN) return undefined
      entry.known.add(name)
      if (isPast || learns(one, entry, request.keyStore, at)) return undefined
    }
    entry.all?.add(at, count)
    if (entry.all !== undefined && request.isAllowed) return undefined
    entry.count.add(at, count)
    return entry
  }

  return {
    observe(request, at, onTrip) {
      for (const one of compiled) {
        const { rule } = one
        const entry = take(one, request, at, 1, false)
        if (entry === undefined || at < entry.quietUntil) continue
        const limit = limitOf(rule, shares)
        const measured = measure(rule, entry, at)
        if (measured <= limit) continue
        entry.quietUntil = at + rule.windowMs
        onTrip({ rule, subject: subjectOf(rule, request), measured, limit })
      }
    },
    recall(request, at, count) {
      for (const one of compiled) take(one, request, at, count, true)
    },
    quiet(name, subject, until) {
      for (const one of compiled) {
        if (one.rule.name !== name) continue
        const { keyStore = '', keyId, principal } = subject
        const id = principal ?? (keyId === undefined ? keyStore : `${keyStore} ${keyId}`)
        const entry = entryOf(one, id)
        entry.quietUntil = Math.max(entry.quietUntil, until)
      }
    },
    get forgotten() {
      return forgotten
    },
  }
}

function createEntry({ measure, windowMs }: TripwireRule, mayBeForgotten: boolean): Entry {
  return {
    count: new WindowCount(windowMs),
    all: measure === 'denialPercent' ? new WindowCount(windowMs) : undefined,
    known: measure.startsWith('new') ? new Set<string>() : undefined,
    quietUntil: -Infinity,
    learnUntil: mayBeForgotten ? undefined : -Infinity,
  }
}

/** Reports whether a rule counts a request at all. */
export function isCounted(rule: TripwireRule, request: Observation): boolean {
  if (rule.keyStore !== undefined && rule.keyStore !== request.keyStore) return false
  if (rule.key !== undefined && rule.key !== request.keyId) return false
  const { operation, isAllowed } = request
  switch (rule.measure) {
    case 'decrypts':
      return isAllowed && operation === 'Decrypt'
    case 'denialPercent':
      return true
    case 'newPrincipals':
    case 'newAccessClasses':
      return isAllowed && (operation === 'Decrypt' || operation === 'Encrypt')
  }
}

/** Neither key store names nor key ids contain a space, so it is a safe separator. */
function nameOf({ per }: TripwireRule, { keyStore, keyId, principal }: Observation): string {
  if (per === 'principal') return toCaller(principal)
  return per === 'key-store' ? keyStore : `${keyStore} ${keyId}`
}

export function subjectOf(
  { per }: TripwireRule,
  { keyStore, keyId, principal }: Observation,
): Subject {
  if (per === 'principal') return { principal: toCaller(principal) }
  return per === 'key-store' ? { keyStore } : { keyStore, keyId }
}

function measure(rule: TripwireRule, { count, all }: Entry, at: number): number {
  if (all === undefined) return count.totalAt(at)
  const requests = all.totalAt(at)
  return requests < rule.atLeast ? 0 : (100 * count.totalAt(at)) / requests
}

/**
 * Divides only the limit for Decrypts among the processes. Each process sees every new caller and
 * class, and a percentage of its own requests needs no division.
 */
function limitOf({ measure, limit }: TripwireRule, shares: () => number): number {
  return measure === 'decrypts' ? Math.ceil(limit / Math.max(1, shares())) : limit
}
