/** Opens the audit log of a serving process, certifies its key, and connects it to requests. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { createPrincipalHash, PRINCIPALS } from '../audit/principal-hash.ts'
import { hashSealed } from '../audit/record.ts'
import { type AuditLog, type AuditStats, startAuditLog } from '../audit/writer/audit-log.ts'
import { closeLogFolder, createLogFolder, deriveLogSeed } from '../audit/writer/log-folder.ts'
import { recoverLogs } from '../audit/writer/log-recovery.ts'
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import type { RequestRecord } from '../core/request.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import type { WitnessState } from '../observability/metrics/audit-states.ts'
import { appendEvent } from '../store/event-log.ts'
import type { Store } from '../store/store.ts'
import { XksError } from '../xks/errors.ts'
import type { RequestAudit } from '../xks/pipeline.ts'
import { startControlLog } from './control-log.ts'

export interface ServerAudit {
  readonly requests: RequestAudit
  record(record: RequestRecord): void
  stats(): AuditStats
  /** Returns each witness's most recent response; undefined if this process does not ask any. */
  readonly witnesses: () => WitnessState | undefined
}

export interface AuditDeps {
  readonly config: Config
  readonly store: Store
  readonly version: string
  /** Number of the worker process (1-based); 0 without worker processes. */
  readonly worker: number
  readonly logger: Logger
}

/**
 * Completes the logs of processes that have exited, and starts a log for this process. Returns
 * undefined if the audit log is off.
 * @throws AuditError AUDIT_UNWRITABLE
 */
export async function createServerAudit(
  deps: AuditDeps,
  cleanup: Cleanup,
): Promise<ServerAudit | undefined> {
  const { config, store, logger } = deps
  const { mode, folder: root, checkpointIntervalMs, headIntervalMs, principals } = config.audit
  if (mode === 'off') return undefined
  // Workers share one publisher, which runs in their primary. It stops after the audit log, because
  // it publishes the log's end.
  const witnesses = deps.worker === 0 ? await startControlLog(config, logger, cleanup) : undefined
  const { derive } = store.sealing
  const host = hostname()
  const toTime = () => new Date(clock.now()).toISOString()
  const note = (kind: string, detail: Readonly<Record<string, unknown>>) =>
    store.change(async (transaction, epoch) => {
      const operator = `audit log on ${host}`
      const event = { at: clock.now(), epoch, kind, operator, detail }
      await appendEvent(transaction, store.sealing, event)
    })

  const onFailed = (path: string, err: unknown) => {
    logger.error('could not complete an audit log that was left open', { folder: path, err })
  }
  for (const log of await recoverLogs({ root, host, derive, onFailed })) {
    const { folder, ...detail } = log
    logger.warn('audit log completed after a crash', { folder, ...detail })
    await note('audit-recovered', detail)
  }

  const startedAt = toTime()
  const { folder, certificate } = await createLogFolder({
    ...{ root, derive, host, startedAt, storeId: store.id, pid: process.pid },
    ...{ worker: deps.worker, version: deps.version },
    logId: `${startedAt.replace(/[-:]|\.\d+/g, '')}-${randomUUID().slice(0, 8)}`,
    certify: await openSigner(store, 'audit'),
  })
  const { origin, verifierKey } = certificate
  await note('audit-opened', { origin, verifierKey, host })
  const log = await startAuditLog({
    ...{ folder, origin, checkpointMs: checkpointIntervalMs },
    seed: deriveLogSeed(derive, origin),
    hashPrincipal: principals === 'hashed' ? createPrincipalHash(derive(PRINCIPALS)) : undefined,
    start: { time: startedAt, host, pid: process.pid, worker: deps.worker, version: deps.version },
    onFailing: (why) => {
      logger.error('cannot write the audit log', { mode, folder, why })
    },
    onWorking: (lost) => {
      logger.warn('the audit log is writable again', { folder, lost })
    },
  })
  let noted = 0
  const heads = periodic({
    intervalMs: headIntervalMs,
    async work() {
      const { head } = log.stats()
      if (head === undefined || head.size === noted) return
      await note('audit-head', { origin, ...head })
      noted = head.size
    },
    onError: (err) => {
      logger.warn('could not record the head of the audit log', { folder, err })
    },
  })
  cleanup.add(async () => {
    await heads.stop()
    const head = await log.stop(toTime())
    if (head === undefined) return
    await closeLogFolder(folder)
    // Without this event the log is still complete, but the store does not know where it ends.
    await note('audit-closed', { origin, size: head.size, root: head.root }).catch(() => undefined)
  })
  logger.info('audit log', { mode, folder, origin })
  return {
    requests: {
      hashSealed,
      recordDurably: mode === 'strict' ? (record) => recordDurably(log, record) : undefined,
    },
    record: log.record.bind(log),
    stats: () => log.stats(),
    witnesses: () => witnesses?.(),
  }
}

async function recordDurably(log: AuditLog, record: RequestRecord): Promise<void> {
  try {
    await log.recordDurably(record)
  } catch (cause) {
    throw new XksError('InternalException', undefined, { reason: 'AUDIT_UNWRITABLE', cause })
  }
}
