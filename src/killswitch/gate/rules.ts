/** The switches in force, indexed so that the cost of a check does not depend on their number. */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices } from '../../core/slices.ts'
import type { Operation, RequestMetadata, RequestSubject } from '../../core/request.ts'
import type { Criteria, Direction } from '../../core/scope.ts'
import type { DeadManSwitch, GateErrorCode, Switch } from '../model.ts'

/**
 * Times at which the dead man's switch closes a key store: it closes as soon as either clock
 * reaches its value.
 */
export interface AccessDeadline {
  /** Monotonic time in milliseconds. */
  readonly monotonicAt: number
  /** Milliseconds since the Unix epoch. */
  readonly wallAt: number
}

export interface Rules {
  /** Number of switches. */
  readonly size: number
  /** Returns why the subject is blocked; undefined when it is not. */
  refusal(subject: RequestSubject): GateErrorCode | undefined
  /**
   * Reports whether the key is blocked. GetKeyMetadata still succeeds, and says that the key is
   * disabled.
   */
  isKeyBlocked(subject: RequestSubject): boolean
  /** Returns undefined for a key store that has no dead man's switch. */
  accessDeadline(keyStore: string): AccessDeadline | undefined
}

const ENCRYPT = 1
const DECRYPT = 2
const LOOK = 4
const HEALTH = 8

const BIT_OF: Readonly<Record<Operation, number>> = {
  Encrypt: ENCRYPT,
  Decrypt: DECRYPT,
  GetKeyMetadata: LOOK,
  GetHealthStatus: HEALTH,
}

const BITS_OF: Readonly<Record<Direction, number>> = {
  both: ENCRYPT | DECRYPT | LOOK | HEALTH,
  decrypt: DECRYPT,
  encrypt: ENCRYPT,
}

interface Match {
  readonly bits: number
  readonly keyStore: string | undefined
  readonly matches: Matcher
}

type AccessDeadlines = ReadonlyMap<string, AccessDeadline>

/**
 * Indexes a small number of switches in a single turn of the event loop. `indexRules` handles as
 * many switches as a store may have.
 */
export function createRules(
  switches: readonly Switch[],
  accessDeadlines: AccessDeadlines = new Map(),
): Rules {
  const index = createIndex()
  for (const one of switches) addSwitch(index, one)
  return rulesOf(index, accessDeadlines)
}

/** Number of switches indexed in one turn of the event loop. */
const SLICE = 500

export async function indexRules(
  switches: readonly Switch[],
  accessDeadlines: AccessDeadlines,
): Promise<Rules> {
  const index = createIndex()
  await forEachInSlices(switches, SLICE, (one) => {
    addSwitch(index, one)
  })
  return rulesOf(index, accessDeadlines)
}

interface Index {
  size: number
  all: number
  readonly stores: Map<string, number>
  readonly keys: Map<string, Map<string, number>>
  readonly matchers: Match[]
}

function createIndex(): Index {
  return { size: 0, all: 0, stores: new Map(), keys: new Map(), matchers: [] }
}

function addSwitch(index: Index, { scope, direction }: Switch): void {
  const bits = BITS_OF[direction]
  index.size += 1
  if (scope.kind === 'all') index.all |= bits
  else if (scope.kind === 'key-store') add(index.stores, scope.keyStore, bits)
  else if (scope.kind === 'match') {
    const { keyStore, criteria } = scope
    index.matchers.push({ bits, keyStore, matches: createMatcher(criteria) })
  } else {
    let ofStore = index.keys.get(scope.keyStore)
    if (ofStore === undefined) index.keys.set(scope.keyStore, (ofStore = new Map<string, number>()))
    add(ofStore, scope.keyId, bits)
  }
}

function rulesOf(index: Index, accessDeadlines: AccessDeadlines): Rules {
  const { size, all, stores, keys, matchers } = index
  const isMatch = ({ bits, keyStore, matches }: Match, bit: number, subject: RequestSubject) =>
    (bits & bit) !== 0 &&
    (keyStore === undefined || keyStore === subject.keyStore) &&
    subject.metadata !== undefined &&
    matches(subject.metadata)

  const bitsOfKey = ({ keyStore, keyId }: RequestSubject) =>
    keyId === undefined ? 0 : (keys.get(keyStore)?.get(keyId) ?? 0)

  return {
    size,
    refusal(subject) {
      if (size === 0) return undefined
      const bit = BIT_OF[subject.operation]
      if ((all & bit) !== 0) return 'KILLED_ALL'
      if (((stores.get(subject.keyStore) ?? 0) & bit) !== 0) return 'KILLED_STORE'
      if (bit !== LOOK && (bitsOfKey(subject) & bit) !== 0) return 'KILLED_KEY'
      // KILLED_MATCH maps to AccessDeniedException, which does not apply to health checks (XKS
      // 1.0.3, Error codes).
      if (bit === HEALTH) return undefined
      return matchers.some((one) => isMatch(one, bit, subject)) ? 'KILLED_MATCH' : undefined
    },
    isKeyBlocked: (subject) => size > 0 && (bitsOfKey(subject) & LOOK) !== 0,
    accessDeadline: (keyStore) => accessDeadlines.get(keyStore),
  }
}

const OPERATIONS_OF: Readonly<Record<Direction, readonly Operation[]>> = {
  both: ['Encrypt', 'Decrypt', 'GetKeyMetadata'],
  decrypt: ['Decrypt'],
  encrypt: ['Encrypt'],
}

/**
 * Reports whether the rules enforce exactly these switches. Each switch is tested with a
 * subject that it must block, which finds errors in how the rules were built as well as missing
 * rules.
 * @param tried switches to test (default: all)
 */
export function enforces(
  rules: Rules,
  switches: readonly Switch[],
  tried: readonly Switch[] = switches,
): boolean {
  const isBlocked = ({ scope, direction }: Switch) => {
    // A matching subject cannot be derived from a pattern, so pattern switches are checked only by
    // their number.
    if (scope.kind === 'match') return true
    const keyStore = scope.kind === 'all' ? '' : scope.keyStore
    const keyId = scope.kind === 'key' ? scope.keyId : undefined
    return OPERATIONS_OF[direction].every((operation) => {
      const subject = { operation, keyStore, ...(keyId === undefined ? {} : { keyId }) }
      const isRefused = rules.refusal(subject) !== undefined
      return isRefused || (operation === 'GetKeyMetadata' && rules.isKeyBlocked(subject))
    })
  }
  return rules.size === switches.length && tried.every(isBlocked)
}

function add(bits: Map<string, number>, name: string, more: number): void {
  bits.set(name, (bits.get(name) ?? 0) | more)
}

export const NO_RULES = createRules([])

type Matcher = (metadata: Partial<RequestMetadata>) => boolean

export function createMatcher(criteria: Criteria): Matcher {
  const { account, principal, viaService, vpc } = criteria
  return (metadata) =>
    (account === undefined || isOfAccount(metadata, account)) &&
    (principal === undefined || matches(principal, metadata.awsPrincipalArn)) &&
    (viaService === undefined || matches(viaService, metadata.kmsViaService)) &&
    (vpc === undefined || isFrom(metadata, vpc))
}

/** An ARN has the form arn:partition:service:region:ACCOUNT:resource. */
function isOfAccount(
  { awsPrincipalArn, kmsKeyArn }: Partial<RequestMetadata>,
  account: string,
): boolean {
  return [awsPrincipalArn, kmsKeyArn].some((arn) => arn?.split(':')[4] === account)
}

function isFrom({ awsSourceVpc, awsSourceVpce }: Partial<RequestMetadata>, vpc: string): boolean {
  return matches(vpc, vpc.startsWith('vpce-') ? awsSourceVpce : awsSourceVpc)
}

/**
 * `*` matches any characters and `?` one character, as in IAM's ArnLike but without its treatment
 * of colons. The function backtracks to the last star only, so its time is at most the product of
 * the two lengths.
 */
export function matches(pattern: string, text: string | undefined): boolean {
  if (text === undefined) return false
  let p = 0
  let star = -1
  let from = 0
  for (let i = 0; i < text.length;) {
    if (pattern[p] === '*') {
      star = p++
      from = i
    } else if (p < pattern.length && (pattern[p] === '?' || pattern[p] === text[i])) {
      p++
      i++
    } else if (star >= 0) {
      p = star + 1
      i = ++from
    } else return false
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

interface AccessDeadlineTable {
  /**
   * @param at `askedAt` is the monotonic time in milliseconds before the query; `now` is the
   * database's wall time
   */
  update(
    deadManSwitches: readonly DeadManSwitch[],
    at: { readonly askedAt: number; readonly now: number },
  ): ReadonlyMap<string, AccessDeadline>
}

/**
 * Returns a table of deadlines. Unless a dead man's switch is renewed, its deadline never moves to
 * a later time, so setting a wall clock back, even the database's, does not keep a key store open.
 */
export function createAccessDeadlines(): AccessDeadlineTable {
  let known = new Map<string, { renewal: string; deadline: AccessDeadline }>()
  return {
    update(deadManSwitches, { askedAt, now }) {
      const next: typeof known = new Map()
      for (const { keyStore, renewedAt, openUntil } of deadManSwitches) {
        const renewal = `${String(renewedAt)} ${String(openUntil)}`
        const before = known.get(keyStore)
        const earlier = before?.renewal === renewal ? before.deadline.monotonicAt : Infinity
        const monotonicAt = Math.min(earlier, askedAt + (openUntil - now))
        next.set(keyStore, { renewal, deadline: { monotonicAt, wallAt: openUntil } })
      }
      known = next
      return new Map([...next].map(([keyStore, { deadline }]) => [keyStore, deadline]))
    },
  }
}
