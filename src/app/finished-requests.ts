/**
 * Records finished requests in batches. Between two requests, other code displaces the recording
 * code from the processor's caches, so recording each request on its own takes several times as
 * long as recording many in a row (docs/internals/performance.md).
 */
// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from '../core/request.ts'

/** Number of requests after which a batch is recorded immediately. */
const BATCH = 32
/** Time in milliseconds after which a batch is recorded even if it is not full. */
const COLLECT_MS = 20

export interface FinishedRequests {
  /**
   * Queues a finished request, which must not change anymore. A request that failed because of an
   * error in Latchkey is recorded immediately, because the process might be about to exit. Never
   * throws.
   */
  add(record: RequestRecord): void
  /** Records all queued requests. Never throws. */
  settle(): void
  /**
   * Records all queued requests, and later ones as soon as they are added: a request can outlive
   * its connection. Never throws.
   */
  close(): void
}

export interface FinishedRequestsDeps {
  /** Each of these functions is called once for each request. */
  readonly recorders: readonly ((record: RequestRecord) => void)[]
  /** Called with what a recorder throws. The other recorders still receive the request. */
  readonly onError: (error: unknown) => void
}

export function createFinishedRequests({
  recorders,
  onError,
}: FinishedRequestsDeps): FinishedRequests {
  let queued: RequestRecord[] = []
  let timer: NodeJS.Timeout | undefined
  let isClosed = false

  function recordAll(record: (request: RequestRecord) => void, requests: RequestRecord[]): void {
    for (const request of requests) {
      try {
        record(request)
      } catch (error) {
        onError(error)
      }
    }
  }

  function settle(): void {
    clearTimeout(timer)
    timer = undefined
    const requests = queued
    queued = []
    for (const record of recorders) recordAll(record, requests)
  }

  return {
    add(record) {
      queued.push(record)
      if (queued.length >= BATCH || record.fault !== undefined || isClosed) settle()
      // A server that stops calls `close`, so the timer need not keep the process alive.
      else timer ??= setTimeout(settle, COLLECT_MS).unref()
    },
    settle,
    close() {
      isClosed = true
      settle()
    },
  }
}
