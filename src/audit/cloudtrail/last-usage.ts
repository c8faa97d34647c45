/**
 * Compares audit logs with GetKeyLastUsage responses: KMS's own record of each KMS key's last
 * successful use. This comparison needs no CloudTrail trail, but covers only one request for each
 * key.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises'
import { AuditError } from '../errors.ts'
import { type AuditEntry, fieldOf } from '../record.ts'
import { RecordSplitter } from './events.ts'
import { type Finding, isCompared } from './reconcile.ts'

/** A GetKeyLastUsage response. Times are milliseconds since the Unix epoch. */
export interface KeyLastUsage {
  readonly kmsKeyId: string
  /** The last use; absent if KMS has recorded none. */
  readonly last?: {
    readonly operation: string
    readonly at: number
    readonly kmsRequestId: string
  }
  /** Time at which KMS's record starts. KMS does not know of earlier uses. */
  readonly trackedSince: number
}

export interface LastUsages {
  /**
   * Time of the responses, in milliseconds since the Unix epoch. The responses do not cover later
   * requests.
   */
  readonly takenAt: number
  readonly keys: readonly KeyLastUsage[]
}

export interface LastUsageCheck {
  take(entry: AuditEntry): void
  /** Returns the findings. Call after the last `take`. */
  findings(): readonly Finding[]
}

/**
 * A request is not reported if it follows the last use by at most this long, because clocks differ.
 */
const SLACK_MS = 60_000
/** Requests this recent may be missing from a response. AWS does not document the delay. */
const LAG_MS = 15 * 60_000

interface RawLastUsage {
  readonly KeyId?: unknown
  readonly KeyLastUsage?: {
    readonly Operation?: unknown
    readonly Timestamp?: unknown
    readonly KmsRequestId?: unknown
  }
  readonly TrackingStartDate?: unknown
}

/**
 * Reads responses in the AWS CLI's output format: one object, several objects, or an array. The
 * file's modification time counts as the time of the responses.
 * @throws AuditError AUDIT_INVALID
 */
export async function loadLastUsages(file: string): Promise<LastUsages> {
  try {
    const { mtimeMs: takenAt } = await stat(file)
    const splitter = new RecordSplitter()
    const texts = splitter.take(await readFile(file))
    if (!splitter.isAtEnd || texts.length === 0) throw new TypeError('expected JSON objects')
    return { takenAt, keys: texts.map((text) => toLastUsage(JSON.parse(text) as RawLastUsage)) }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new AuditError(
      'AUDIT_INVALID',
      `cannot read GetKeyLastUsage responses from ${file}: ${why}`,
      {
        cause,
      },
    )
  }
}

function toLastUsage({ KeyId, KeyLastUsage, TrackingStartDate }: RawLastUsage): KeyLastUsage {
  if (typeof KeyId !== 'string' || KeyId === '') throw new TypeError('expected a KeyId')
  const trackedSince = toTime(TrackingStartDate, 'TrackingStartDate')
  // A key may be named by its ARN.
  const kmsKeyId = KeyId.slice(KeyId.lastIndexOf('/') + 1)
  const { Operation, Timestamp, KmsRequestId } = KeyLastUsage ?? {}
  if (Timestamp === undefined) return { kmsKeyId, trackedSince }
  if (typeof Operation !== 'string' || typeof KmsRequestId !== 'string') {
    throw new TypeError(`${KeyId}: expected Operation and KmsRequestId`)
  }
  const at = toTime(Timestamp, 'Timestamp')
  return { kmsKeyId, trackedSince, last: { operation: Operation, at, kmsRequestId: KmsRequestId } }
}

/** The AWS CLI prints times as ISO 8601 or as seconds since the Unix epoch, depending on its settings. */
function toTime(value: unknown, name: string): number {
  const at = typeof value === 'number' ? value * 1000 : Date.parse(String(value))
  if (Number.isNaN(at)) throw new TypeError(`${name}: expected a time, found ${String(value)}`)
  return at
}

interface KeyState {
  readonly usage: KeyLastUsage
  /** The log entry for the last use, if any log has one. */
  match: AuditEntry | undefined
  latest: AuditEntry | undefined
}

export function createLastUsageCheck(usages: LastUsages): LastUsageCheck {
  const until = usages.takenAt - LAG_MS
  const keys = new Map<string, KeyState>(
    usages.keys.map((usage) => [usage.kmsKeyId, { usage, match: undefined, latest: undefined }]),
  )
  let first = Infinity
  let last = -Infinity
  return {
    take(entry) {
      const at = timeOf(entry)
      if (Number.isNaN(at)) return
      first = Math.min(first, at)
      last = Math.max(last, at)
      if (!isCompared(entry)) return
      const arn = fieldOf(entry, 'kmsKeyArn')
      const key = keys.get(arn.slice(arn.lastIndexOf('/') + 1))
      if (key === undefined) return
      if (fieldOf(entry, 'kmsRequestId') === key.usage.last?.kmsRequestId) key.match = entry
      if (at < until && !(key.latest && timeOf(key.latest) >= at)) key.latest = entry
    },
    findings() {
      return [...keys.values()].flatMap(({ usage, match, latest }) => {
        const found: Finding[] = []
        const { last: use, kmsKeyId, trackedSince } = usage
        // Do not compare outside the logged period: KMS may have used the key before the logs
        // begin, or after their last checkpoint.
        if (use !== undefined && match === undefined && use.at >= first && use.at <= last) {
          found.push({
            ...{ kind: 'last-use-not-in-log', kmsRequestId: use.kmsRequestId, principal: '' },
            ...{ time: new Date(use.at).toISOString(), operation: use.operation, key: kmsKeyId },
          })
        }
        if (latest !== undefined && timeOf(latest) > (use?.at ?? trackedSince) + SLACK_MS) {
          found.push({
            ...{ kind: 'after-last-use', kmsRequestId: fieldOf(latest, 'kmsRequestId') },
            ...{ time: latest.time ?? '', operation: fieldOf(latest, 'kmsOperation') },
            ...{ principal: fieldOf(latest, 'awsPrincipalArn'), key: kmsKeyId },
            other: use === undefined ? 'never used' : new Date(use.at).toISOString(),
          })
        }
        return found
      })
    },
  }
}

const timeOf = (entry: AuditEntry) => Date.parse(entry.time ?? '')
