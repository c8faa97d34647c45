/**
 * Records when each key version was used and by whom. The request path only updates memory, and the
 * store is written in the background. Every write states the time up to which this process's record
 * is complete, so a crash leaves a known gap.
 */
// SPDX-License-Identifier: Apache-2.0
import { toCaller } from '../core/caller.ts'
import type { Clock } from '../core/clock.ts'
import type { RequestRecord } from '../core/request.ts'

/**
 * `refused`: a Decrypt that was refused because the version is being retired. A Decrypt that was
 * refused for another reason counts as `decrypt`, because its caller needs the version.
 */
export type VersionUseKind = 'encrypt' | 'decrypt' | 'refused'

export interface VersionUse {
  readonly keyStore: string
  readonly keyId: string
  readonly version: number
  readonly kind: VersionUseKind
  /** Empty if there were too many callers, or if KMS named no caller. */
  readonly caller: string
  uses: number
  /** Wall time of the first and last use, in milliseconds since the Unix epoch. */
  readonly firstAt: number
  lastAt: number
}

/**
 * States how complete a process's record is. Times are wall times in milliseconds since the Unix
 * epoch.
 */
export interface LedgerWriter {
  readonly id: string
  readonly startedAt: number
  /** All uses in this process before this time have been written. */
  readonly flushedAt: number
  /** Whether the process has stopped serving. */
  readonly isLast: boolean
}

export interface VersionLedger {
  /**
   * Announces that this process keeps a record from now on. Call before the process can serve.
   * @throws any error that `write` rejects with
   */
  open(): Promise<void>
  /** Runs synchronously, does no I/O, and never throws. */
  record(request: VersionedRequest): void
  /**
   * Writes pending uses. Never rejects; uses that could not be written are kept for the next call.
   */
  flush(): Promise<void>
  /** Call once no more requests are served. */
  close(): Promise<void>
}

export type VersionedRequest = Pick<
  RequestRecord,
  'operation' | 'keyStore' | 'keyId' | 'keyVersion' | 'status' | 'reason' | 'metadata'
>

export interface VersionLedgerDeps {
  readonly id: string
  readonly clock: Pick<Clock, 'now'>
  /**
   * Maximum number of pending entries between two writes that are counted individually. There is
   * one entry for each combination of version, kind of use and caller.
   */
  readonly maxPending: number
  /** Writes all uses, and then the state of this writer. */
  readonly write: (uses: readonly VersionUse[], writer: LedgerWriter) => Promise<void>
}

/**
 * Reasons for a failed Decrypt that do not prove a use: anyone with the credential can name a
 * version, or send bytes that the version did not encrypt.
 */
const NO_USE: ReadonlySet<string> = new Set([
  ...['KEY_NOT_FOUND', 'VERSION_NOT_FOUND', 'INTEGRITY_FAILURE', 'METADATA'],
])
/**
 * Key and version under which failed Decrypts beyond `maxPending` are recorded. A request that is
 * refused early may name any key and version, so nothing else limits the number of names. These
 * Decrypts count as uses of every version.
 */
export const UNKNOWN = { keyId: '', version: 0 } as const
/** Reason for a Decrypt refused because the version is being retired. */
export const VERSION_RETIRED = 'VERSION_RETIRED'

const toId = ({ keyStore, keyId, version, kind, caller }: VersionUse) =>
  `${keyStore} ${keyId} ${String(version)} ${kind} ${caller}`

export function createVersionLedger(deps: VersionLedgerDeps): VersionLedger {
  const { id, clock, maxPending } = deps
  const startedAt = clock.now()
  let pending = new Map<string, VersionUse>()
  /**
   * No use is recorded with a time earlier than this, because all earlier uses have been reported
   * as written.
   */
  let mark = startedAt
  let running: Promise<void> = Promise.resolve()

  function kindOf({
    operation,
    status,
    reason = '',
  }: VersionedRequest): VersionUseKind | undefined {
    if (operation === 'Encrypt') return status === 200 ? 'encrypt' : undefined
    if (operation !== 'Decrypt' || NO_USE.has(reason)) return undefined
    return reason === VERSION_RETIRED ? 'refused' : 'decrypt'
  }

  function put(use: VersionUse): void {
    const key = toId(use)
    const found = pending.get(key)
    if (found === undefined) pending.set(key, use)
    else {
      found.uses += use.uses
      found.lastAt = Math.max(found.lastAt, use.lastAt)
    }
  }

  async function write(isLast: boolean): Promise<void> {
    const taken = pending
    pending = new Map()
    mark = Math.max(mark, clock.now())
    const flushedAt = mark
    try {
      await deps.write([...taken.values()], { id, startedAt, flushedAt, isLast })
    } catch {
      // Some of the uses may have been written. Counting a use twice does no harm; losing one does.
      const newer = pending
      pending = taken
      for (const use of newer.values()) put(use)
    }
  }

  const enqueue = (isLast: boolean) => (running = running.then(() => write(isLast)))

  return {
    async open() {
      await deps.write([], { id, startedAt, flushedAt: startedAt, isLast: false })
    },
    record(request) {
      const { keyStore, keyId, keyVersion: version, metadata } = request
      if (version === undefined || keyStore === undefined || keyId === undefined) return
      const kind = kindOf(request)
      if (kind === undefined) return
      const principal = metadata?.awsPrincipalArn ?? ''
      const isFull = pending.size >= maxPending
      const caller = isFull ? '' : toCaller(principal)
      const key = `${keyStore} ${keyId} ${String(version)} ${kind} ${caller}`
      const found = pending.get(key)
      const at = Math.max(mark, clock.now())
      if (found !== undefined) {
        found.uses += 1
        if (at > found.lastAt) found.lastAt = at
        return
      }
      const isNamed = !isFull || kind !== 'decrypt' || request.status === 200
      const name = isNamed ? { keyId, version } : UNKNOWN
      put({ keyStore, ...name, kind, caller, uses: 1, firstAt: at, lastAt: at })
    },
    flush: () => enqueue(false),
    close: () => enqueue(true),
  }
}
