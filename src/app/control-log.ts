/**
 * Publishes the control log beside the audit logs, and asks witnesses to cosign it. Runs once per
 * `latchkey serve`.
 */
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
import type { WitnessState } from '../observability/metrics/audit-states.ts'
import { encodeEvent, readEventsHead } from '../store/event-log.ts'
import { readEventsAfter } from '../store/recent-events.ts'
import { openStore, type Store } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

/**
 * Minimum interval in milliseconds between attempts to publish, each of which queries the store.
 * With witnesses, their own interval applies instead.
 */
const LEAST_MS = 1000

/**
 * Does nothing if the audit log is off.
 * @returns a function that returns each witness's most recent response; undefined if there are no
 * witnesses
 * @throws AuditError AUDIT_INVALID for the witness policy, StorageError
 */
export async function startControlLog(
  config: Config,
  logger: Logger,
  cleanup: Cleanup,
): Promise<WitnessSource | undefined> {
  const { mode, folder: root, checkpointIntervalMs, witnesses } = config.audit
  if (mode === 'off') return undefined
  const policy = witnesses && (await loadWitnessPolicy(witnesses.policy))
  const state = policy && createWitnessState(logger)
  // Open a separate store handle, so that no other component waits for the control log.
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
        onAsked: state?.onAsked ?? (() => undefined),
      }),
    onForked: (folder) => {
      logger.error('the published control log has a different history from the store', { folder })
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
      if (!isFailing) logger.error('cannot publish the control log', { folder: root, err })
      isFailing = true
    },
  })
  void publishing.runNow()
  // Publish the events that other components wrote while they were stopping.
  cleanup.add(async () => {
    await publishing.runNow()
    await publishing.stop()
  })
  return state?.current
}

/** @throws AuditError AUDIT_INVALID */
export async function loadLogPolicy(path: string): Promise<LogPolicy> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new AuditError('AUDIT_INVALID', `cannot read the witness policy ${path}`, { cause })
  })
  const policy = parseLogPolicy(text)
  if (typeof policy !== 'string') return policy
  throw new AuditError('AUDIT_INVALID', `${path}: ${policy}`, {
    hint: 'the file must be in the format that https://c2sp.org/tlog-policy defines',
  })
}

/**
 * Loads the policy for the witnesses that a server asks. The witnesses that have a URL must be
 * enough for a quorum.
 * @throws AuditError AUDIT_INVALID
 */
export async function loadWitnessPolicy(path: string): Promise<LogPolicy> {
  const policy = await loadLogPolicy(path)
  const asked = policy.witnesses.filter(({ url }) => url !== undefined)
  if (policy.isQuorum(asked.map(({ key }) => key))) return policy
  const fault = 'the quorum cannot be reached, because too few witnesses have a URL'
  throw new AuditError('AUDIT_INVALID', `${path}: ${fault}`, {
    hint: 'expected lines such as: witness NAME KEY https://witness.example.com',
  })
}

function readControlLog(store: Store, after: number) {
  const { database, sealing } = store
  return database.snapshot(async (reader) => {
    const head = await readEventsHead(reader, sealing)
    const events = head.size > after ? await readEventsAfter(reader, sealing, after) : []
    return { head, entries: events.map(encodeEvent) }
  })
}

type WitnessSource = () => WitnessState | undefined

/** Logs only changes: when a witness fails, when it recovers, and each conflict. */
function createWitnessState(logger: Logger) {
  const failing = new Map<string, string>()
  let state: WitnessState | undefined
  const onAsked = (outcomes: readonly WitnessOutcome[], isQuorum: boolean) => {
    state = { isQuorum, witnesses: outcomes.map(toWitness) }
    for (const { witness, failure, isConflict } of outcomes) {
      const before = failing.get(witness)
      if (failure === undefined) {
        failing.delete(witness)
        if (before !== undefined) logger.info('witness is cosigning again', { witness })
        continue
      }
      failing.set(witness, failure)
      if (failure === before) continue
      const event = { witness, failure, isQuorum }
      if (isConflict === true) logger.error('witness rejected the control log', event)
      else logger.warn('witness is not cosigning', event)
    }
  }
  return { onAsked, current: () => state }
}

function toWitness({ witness, failure, isConflict }: WitnessOutcome) {
  if (failure === undefined) return { name: witness, state: 'cosigns' } as const
  return { name: witness, state: isConflict === true ? 'refuses' : 'fails' } as const
}
