/** Publishes the control log beside the audit logs, and asks witnesses to cosign it: once per `latchkey serve`. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AuditError } from '../audit/errors.ts'
import { openNodes } from '../audit/reader/log-reader.ts'
import { createWitnessClient, type WitnessOutcome } from '../audit/witness/client.ts'
import { createControlLogPublisher } from '../audit/writer/control-log.ts'
import { CONTROL_LOG } from '../audit/writer/log-folder.ts'
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import { type LogPolicy, parseLogPolicy } from '../core/tlog/policy.ts'
import { openControlLogKey } from '../killswitch/receipt/control-log.ts'
import { encodeEvent, readEvents, readEventsHead } from '../store/event-log.ts'
import { openStore, type Store } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

/**
 * Minimum interval between checkpoints, in milliseconds, because each check is a query. It applies
 * without witnesses, which have their own interval.
 */
const LEAST_MS = 1000

/**
 * Does nothing if the audit log is off.
 * @throws AuditError AUDIT_INVALID for the policy about witnesses, StorageError
 */
export async function startControlLog(
  config: Config,
  logger: Logger,
  cleanup: Cleanup,
): Promise<void> {
  const { mode, folder: root, checkpointIntervalMs, witnesses } = config.audit
  if (mode === 'off') return
  const policy = witnesses && (await loadLogPolicy(witnesses.policy))
  // Uses its own handle, so that nothing waits behind it.
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  cleanup.add(() => store.close())
  const publisher = createControlLogPublisher({
    ...(await openControlLogKey(store)),
    root,
    read: (after) => readControlLog(store, after),
    cosign:
      witnesses &&
      policy &&
      createWitnessClient({
        ...{ policy, timeoutMs: witnesses.timeoutMs, clock },
        openNodes: (size) => openNodes(join(root, CONTROL_LOG), size),
        onAsked: createWitnessLog(logger),
      }),
    onForked: (folder) => {
      logger.error('the published control log has another history than the store', { folder })
    },
  })
  let isFailing = false
  const publishing = periodic({
    intervalMs: witnesses?.intervalMs ?? Math.max(LEAST_MS, checkpointIntervalMs),
    async work() {
      await publisher.publish()
      isFailing = false
    },
    onError(err) {
      if (!isFailing) logger.error('the control log cannot be published', { folder: root, err })
      isFailing = true
    },
  })
  void publishing.runNow()
  // Publishes the events that other components wrote while they stopped.
  cleanup.add(async () => {
    await publishing.runNow()
    await publishing.stop()
  })
}

/** @throws AuditError AUDIT_INVALID */
export async function loadLogPolicy(path: string): Promise<LogPolicy> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AuditError('AUDIT_INVALID', `${path}: the policy cannot be read`, { cause })
  })
  const policy = parseLogPolicy(text)
  if (typeof policy !== 'string') return policy
  throw new AuditError('AUDIT_INVALID', `${path}: ${policy}`, {
    hint: 'the form is that of https://c2sp.org/tlog-policy',
  })
}

function readControlLog(store: Store, after: number) {
  const { database, sealing } = store
  return database.snapshot(async (reader) => {
    const head = await readEventsHead(reader, sealing)
    const events = head.size > after ? await readEvents(reader, sealing, after) : []
    return { head, entries: events.map(encodeEvent) }
  })
}

/** Logs changes only: a witness that fails, one that works again, and each conflict. */
function createWitnessLog(logger: Logger) {
  const failing = new Map<string, string>()
  return (outcomes: readonly WitnessOutcome[], isQuorum: boolean) => {
    for (const { witness, failure, isConflict } of outcomes) {
      const before = failing.get(witness)
      if (failure === undefined) {
        failing.delete(witness)
        if (before !== undefined) logger.info('witness cosigns again', { witness })
        continue
      }
      failing.set(witness, failure)
      if (failure === before) continue
      const event = { witness, failure, isQuorum }
      if (isConflict === true) logger.error('witness refuses the control log', event)
      else logger.warn('witness does not cosign', event)
    }
  }
}
