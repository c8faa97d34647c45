/** Connects finished requests to everything that records them: log, audit log, usage and metrics. */
// SPDX-License-Identifier: Apache-2.0
import type { Cleanup } from '../core/cleanup.ts'
import type { RequestRecord } from '../core/request.ts'
import type { Log } from '../observability/log.ts'
import { createRequestLog } from '../observability/request-log.ts'
import type { RequestAudit } from '../xks/pipeline.ts'
import type { ServerAudit } from './audit.ts'
import { createFinishedRequests } from './finished-requests.ts'
import type { ServerMetrics } from './observability.ts'
import type { ServerUsage } from './usage.ts'

export interface RecordingParts {
  readonly log: Log
  readonly audit: Pick<ServerAudit, 'record' | 'requests'> | undefined
  readonly usage: ServerUsage
  readonly tripwire: { observe(record: RequestRecord): void } | undefined
  readonly metrics: Pick<ServerMetrics, 'onFinish'>
}

export interface RequestRecording {
  /** Call once for each finished request, which must not change anymore. */
  readonly onFinish: (record: RequestRecord) => void
  /** The pipeline's interface to the audit log, which keeps the order of the requests. */
  readonly audit: RequestAudit | undefined
  /** Records all requests that are still queued. */
  readonly settle: () => void
}

/** `cleanup` records what is queued, so it must run the parts' own clean-up steps later. */
export function recordRequests(
  { log, audit, usage, tripwire, metrics }: RecordingParts,
  cleanup: Cleanup,
): RequestRecording {
  const onError = (err: unknown) => {
    log.logger.error('could not record a request', { err })
  }
  const finished = createFinishedRequests({
    recorders: [
      createRequestLog(log),
      ...(audit === undefined ? [] : [audit.record]),
      usage.recordCaller,
      metrics.onFinish,
    ],
    onError,
  })
  log.beforeEvent(finished.settle)
  cleanup.add(finished.close)
  return {
    onFinish(record) {
      finished.add(record)
      // These two must know of a request at once: the ledger says up to which time it is complete, and
      // the tripwire may have to stop the next request.
      try {
        usage.recordVersion(record)
        tripwire?.observe(record)
      } catch (error) {
        onError(error)
      }
    },
    audit: audit && inOrder(audit.requests, finished.settle),
    settle: finished.settle,
  }
}

/** Requests that finished before a durable one are recorded before it. */
function inOrder(audit: RequestAudit, settle: () => void): RequestAudit {
  const { recordDurably } = audit
  if (recordDurably === undefined) return audit
  return {
    ...audit,
    recordDurably(record) {
      settle()
      return recordDurably(record)
    },
  }
}
