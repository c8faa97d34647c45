/**
 * Compares audit logs with CloudTrail, in both directions, by request id. A person must assess each
 * difference; docs/audit.md explains what a difference can mean.
 */
// SPDX-License-Identifier: Apache-2.0
import type { HashPrincipal } from '../principal-hash.ts'
import { type AuditEntry, fieldOf } from '../record.ts'
import type { KmsEvent } from './events.ts'
import { createSpill, type Group } from './spill.ts'

export type FindingKind =
  /**
   * The proxy served a request that CloudTrail does not contain, so KMS may not have made the
   * request.
   */
  | 'not-in-cloudtrail'
  /** CloudTrail has a successful call for one of our keys, but no log contains the call. */
  | 'not-in-log'
  | 'principal-differs'
  | 'key-differs'
  | 'operation-differs'
  /** The same id occurs in more requests than a retry explains. */
  | 'repeated'
  /** The request that KMS names as the last use of a key is in no log. */
  | 'last-use-not-in-log'
  /** The proxy served a request after the last use that KMS names. */
  | 'after-last-use'

export interface Finding {
  readonly kind: FindingKind
  readonly kmsRequestId: string
  /** ISO 8601, UTC. */
  readonly time: string
  readonly operation: string
  readonly principal: string
  readonly key: string
  /** Value in the other source (the log or CloudTrail), for fields that differ. */
  readonly other?: string
}

export interface PrincipalSummary {
  readonly principal: string
  /** Number of requests that are in both the logs and CloudTrail. */
  readonly matched: number
  readonly findings: number
}

export interface Reconciliation {
  /** Requests in the logs, and calls in CloudTrail, within the compared period. */
  readonly requests: number
  readonly events: number
  readonly matched: number
  /**
   * Number of requests that were not compared, because the other source does not cover their time.
   */
  readonly notCompared: number
  /** Period that both the logs and CloudTrail cover, in ISO 8601, UTC. */
  readonly from: string | undefined
  readonly to: string | undefined
  readonly findings: readonly Finding[]
  /** Total number of findings; the list above may be truncated. */
  readonly findingCount: number
  readonly principals: readonly PrincipalSummary[]
}

export interface ReconcileOptions {
  /**
   * ARNs of KMS keys backed by Latchkey's external keys, including keys without a request in any
   * log.
   */
  readonly keyArns?: readonly string[]
  /** Folder for temporary files. */
  readonly folder?: string
  /**
   * Tolerance in milliseconds by which the period that each source covers is extended, because
   * CloudTrail's times are whole seconds.
   */
  readonly slackMs?: number
  /** Hashes ARNs, so that callers can be compared with logs that contain only hashes. */
  readonly hashPrincipal?: HashPrincipal | undefined
}

/** KMS operations that make the proxy encrypt or decrypt, by CloudTrail event name. */
const CALLS_PROXY: ReadonlySet<string> = new Set([
  ...['Encrypt', 'Decrypt', 'ReEncrypt', 'GenerateDataKey', 'GenerateDataKeyWithoutPlaintext'],
  ...['GenerateDataKeyPair', 'GenerateDataKeyPairWithoutPlaintext'],
])
/** If a response arrives too late, KMS retries once with the same id. */
const MOST_TRIES = 2
const MAX_LISTED = 10_000
const MAX_PRINCIPALS = 10_000
const SLACK_MS = 1000

interface Side {
  readonly side: 'log' | 'cloudtrail'
  readonly at: number
  readonly operation: string
  readonly principal: string
  /** Set if the log has hashed principals. */
  readonly principalHash?: string
  readonly keys: readonly string[]
  readonly isSuccess: boolean
}

/** Reports whether an entry is for a request that KMS signed and that CloudTrail should have. */
export function isCompared(entry: AuditEntry): boolean {
  const { kind, outcome } = entry
  if (kind !== 'request' || entry['kmsRequestId'] === undefined) return false
  if (entry['isProbe'] === true || entry['operation'] === 'GetHealthStatus') return false
  return outcome === 'allowed' && CALLS_PROXY.has(fieldOf(entry, 'kmsOperation'))
}

export async function reconcile(
  entries: Iterable<AuditEntry>,
  events: AsyncIterable<KmsEvent>,
  { keyArns = [], folder, slackMs = SLACK_MS, hashPrincipal }: ReconcileOptions = {},
): Promise<Reconciliation> {
  const spill = createSpill<Side>({ folder })
  try {
    const ours = new Set(keyArns)
    const log = new Span()
    const trail = new Span()
    for (const entry of entries) {
      const at = Date.parse(entry.time ?? '')
      log.add(at)
      if (!isCompared(entry)) continue
      const key = fieldOf(entry, 'kmsKeyArn')
      ours.add(key)
      spill.add(fieldOf(entry, 'kmsRequestId'), {
        ...{ side: 'log', at, keys: [key], isSuccess: true },
        operation: fieldOf(entry, 'kmsOperation'),
        principal: fieldOf(entry, 'awsPrincipalArn'),
        principalHash: fieldOf(entry, 'awsPrincipalHash'),
      })
    }
    for await (const event of events) {
      trail.add(event.at)
      if (!CALLS_PROXY.has(event.operation) || !event.keyArns.some((key) => ours.has(key))) continue
      spill.add(event.kmsRequestId, {
        ...{ side: 'cloudtrail', at: event.at, operation: event.operation, keys: event.keyArns },
        ...{ principal: event.principal ?? '', isSuccess: event.errorCode === undefined },
      })
    }
    return compare(spill.groups(), log.widen(slackMs), trail.widen(slackMs), hashPrincipal)
  } finally {
    spill.close()
  }
}

/**
 * Period between the first and the last time in one source, which is either the logs or CloudTrail.
 */
class Span {
  first = Infinity
  last = -Infinity

  add(at: number): void {
    if (Number.isNaN(at)) return
    this.first = Math.min(this.first, at)
    this.last = Math.max(this.last, at)
  }

  /** CloudTrail's times are whole seconds. */
  widen(ms: number): this {
    this.first -= ms
    this.last += ms
    return this
  }

  has(at: number): boolean {
    return at >= this.first && at <= this.last
  }
}

function compare(
  groups: Iterable<Group<Side>>,
  log: Span,
  trail: Span,
  hashPrincipal: HashPrincipal | undefined,
): Reconciliation {
  const findings: Finding[] = []
  const principals = new Map<string, { matched: number; findings: number }>()
  const count = { requests: 0, events: 0, matched: 0, notCompared: 0, findings: 0 }

  const summaryOf = (principal: string) => {
    const name =
      principals.size < MAX_PRINCIPALS || principals.has(principal) ? principal : 'others'
    const known = principals.get(name) ?? { matched: 0, findings: 0 }
    principals.set(name, known)
    return known
  }
  const countFindings = (side: Side, number: number) => {
    count.findings += number
    summaryOf(side.principal).findings += number
  }
  const report = (kind: FindingKind, id: string, side: Side, other?: string) => {
    countFindings(side, 1)
    if (findings.length >= MAX_LISTED) return
    findings.push({
      ...{ kind, kmsRequestId: id, time: toTime(side.at), operation: side.operation },
      ...{ principal: side.principal, key: side.keys.join(' ') },
      ...(other === undefined ? {} : { other }),
    })
  }

  for (const { id, items, more } of groups) {
    const requests = items.filter(({ side }) => side === 'log')
    const [event] = items.filter(({ side }) => side === 'cloudtrail')
    const [request] = requests
    const repeats = more['log'] ?? 0
    const total = requests.length + repeats
    if (request !== undefined && event === undefined) {
      if (!trail.has(request.at)) count.notCompared += 1
      else {
        count.requests += total
        for (const one of requests) report('not-in-cloudtrail', id, one)
        countFindings(request, repeats)
      }
    } else if (event !== undefined && request === undefined) {
      if (!log.has(event.at)) count.notCompared += 1
      else {
        count.events += 1
        // If the call failed, KMS may have refused it without calling the proxy.
        if (event.isSuccess) report('not-in-log', id, event)
      }
    } else if (event !== undefined && request !== undefined) {
      count.requests += total
      count.events += 1
      count.matched += 1
      summaryOf(event.principal).matched += 1
      compareOne(id, requests, event, { total, report, hashPrincipal })
    }
  }
  findings.sort((a, b) => (a.time < b.time ? -1 : 1))
  const from = Math.max(log.first, trail.first)
  const to = Math.min(log.last, trail.last)
  return {
    ...{ requests: count.requests, events: count.events, matched: count.matched },
    ...{ notCompared: count.notCompared, findings, findingCount: count.findings },
    from: from <= to ? toTime(from) : undefined,
    to: from <= to ? toTime(to) : undefined,
    principals: [...principals]
      .map(([principal, one]) => ({ principal, ...one }))
      .sort((a, b) => b.findings - a.findings || b.matched - a.matched),
  }
}

function compareOne(
  id: string,
  requests: readonly Side[],
  event: Side,
  {
    total,
    report,
    hashPrincipal,
  }: {
    /** Total number of requests, including those that are not in `requests`. */
    readonly total: number
    readonly report: (kind: FindingKind, id: string, side: Side, other?: string) => void
    readonly hashPrincipal: HashPrincipal | undefined
  },
): void {
  for (const request of requests) {
    const { principal, keys, operation } = request
    const { principalHash = '' } = request
    if (principalHash !== '' && hashPrincipal !== undefined && event.principal !== '') {
      if (hashPrincipal(event.principal) !== principalHash) {
        report('principal-differs', id, { ...request, principal: principalHash }, event.principal)
      }
    }
    // Calls by AWS services may lack the ARN in the log or in CloudTrail.
    if (principal !== '' && event.principal !== '' && principal !== event.principal) {
      report('principal-differs', id, request, event.principal)
    }
    if (event.keys.length > 0 && !keys.some((key) => event.keys.includes(key))) {
      report('key-differs', id, request, event.keys.join(' '))
    }
    if (operation !== event.operation) report('operation-differs', id, request, event.operation)
  }
  const halves = event.operation === 'ReEncrypt' ? 2 : 1
  if (total > MOST_TRIES * halves) {
    const [first] = requests
    if (first !== undefined) report('repeated', id, first, String(total))
  }
}

function toTime(at: number): string {
  return new Date(at).toISOString()
}
