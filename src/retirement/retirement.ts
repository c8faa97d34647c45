/**
 * Retires a key version in four steps. First, one person requests it, which requires a record
 * without any recent Decrypt. A second person approves it, after which the version refuses Decrypt.
 * A waiting period follows, so that users missing from the record are noticed while cancellation is
 * still possible. Finally, the version is destroyed, with a signed certificate (destruction.ts).
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import type { KeyAdministration, KeyVersionSummary } from '../keys/administration.ts'
import { BackendError } from '../keys/errors.ts'
import { type Actor, ControlError, isSamePerson } from '../killswitch/model.ts'
import type { Reader } from '../store/database.ts'
import { appendEvent } from '../store/event-log.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import type { VersionUse } from '../usage/version-ledger.ts'
import { type Quiet, isUseOf, loadVersionUses, toQuiet } from '../usage/version-table.ts'
import { isDestructionOf } from './certificate.ts'
import { RetirementError } from './errors.ts'
import { type History, continueHistory, readHistory } from './history.ts'
import { checkQuiet, loadLedger, tend } from './quiet.ts'
import {
  type Retirement,
  type VersionName,
  deleteRetirement,
  describeVersion,
  isSameVersion,
  loadRetirements,
  putRetirement,
} from './retirement-table.ts'

/** One version of a key with its uses and its retirement. */
export interface VersionReport extends KeyVersionSummary {
  readonly quiet: Quiet
  /** Sorted by number of uses, in descending order. */
  readonly uses: readonly Readonly<VersionUse>[]
  readonly retirement?: Retirement
}

export interface RetirementDeps {
  readonly store: Store
  readonly clock: Clock
  readonly keys: KeyAdministration
}

const DAY_MS = 86_400_000
/** Limits and defaults for the quiet period and the waiting period, in milliseconds. */
export const QUIET_LIMITS = { least: DAY_MS, most: 365 * DAY_MS, otherwise: 90 * DAY_MS } as const
export const WAIT_LIMITS = { least: 7 * DAY_MS, most: 30 * DAY_MS, otherwise: 14 * DAY_MS } as const

/** @throws BackendError KEY_NOT_FOUND */
export async function reportVersions(
  deps: RetirementDeps,
  keyStore: string,
  keyId: ExternalKeyId,
): Promise<readonly VersionReport[]> {
  const { store, clock } = deps
  const { versions } = await findKey(deps, keyId)
  await tend(store, clock.now())
  return store.database.snapshot(async (reader) => {
    const now = clock.now()
    const { events } = await readHistory(reader, store.sealing)
    const state = await loadLedger(store, reader, { keyStore, keyId }, { now, events })
    const uses = await loadVersionUses(reader, keyStore, keyId)
    const retirements = await loadRetirements(reader, store.sealing)
    return versions.map((one) => {
      const own = uses.filter(isUseOf(one.version))
      const name = { keyStore, keyId, version: one.version }
      const retirement = retirements.find((other) => isSameVersion(other, name))
      return {
        ...{ ...one, quiet: toQuiet(state, own), uses: own },
        ...(retirement === undefined ? {} : { retirement }),
      }
    })
  })
}

export interface RetireOrder extends VersionName {
  readonly keyId: ExternalKeyId
  readonly reason: string
  readonly requestedBy: Actor
  readonly quietForMs: number
  readonly waitForMs: number
}

/**
 * Requests a retirement. Nothing is refused yet.
 * @throws RetirementError NOT_QUIET, ALREADY_RETIRED; BackendError VERSION_NOT_FOUND, KEY_USAGE
 */
export async function requestRetirement(
  deps: RetirementDeps,
  order: RetireOrder,
): Promise<Retirement> {
  const { store, clock } = deps
  await tend(store, clock.now())
  const history = await loadHistory(store)
  await checkRetirable(deps, order)
  return store.change(async (transaction, epoch) => {
    const { ledger } = transaction
    const before = (await loadRetirements(transaction, store.sealing, ledger)).find((one) =>
      isSameVersion(one, order),
    )
    if (before !== undefined) throw alreadyRetired(before)
    const events = await continueHistory(transaction, store.sealing, history)
    // `checkRetirable` cannot be part of the transaction, because calling a token takes too long.
    if (events.slice(history.events.length).some(isDestructionOf(order))) {
      throw notThere(order)
    }
    await checkQuiet(store, transaction, order, { now: clock.now(), events })
    const { keyStore, keyId, version, reason, requestedBy, quietForMs, waitForMs } = order
    const at = clock.now()
    const one = { keyStore, keyId, version, reason, requestedBy, quietForMs, waitForMs }
    const made: Retirement = { ...one, requestedAt: at }
    await putRetirement(transaction, store.sealing, made)
    await note(store, transaction, { at, epoch, kind: 'retire-requested', ...requestedBy }, made)
    return made
  })
}

/**
 * Records a second person's approval. Every instance that has acknowledged the epoch refuses to
 * decrypt with the version.
 * @throws ControlError SAME_PERSON; RetirementError NO_RETIREMENT, ALREADY_RETIRED, NOT_QUIET
 */
export async function approveRetirement(
  deps: RetirementDeps,
  name: VersionName,
  by: Actor,
): Promise<Retirement> {
  const { store, clock } = deps
  await tend(store, clock.now())
  const history = await loadHistory(store)
  return store.change(async (transaction, epoch) => {
    const before = await findRetirement(store, transaction, name)
    if (before.approval !== undefined) throw alreadyRetired(before)
    if (isSamePerson(by, before.requestedBy)) {
      const { operator, identity } = before.requestedBy
      const message = `${operator} (${identity}) made this request, and ${by.operator} (${by.identity}) counts as the same person`
      throw new ControlError('SAME_PERSON', message, {
        hint: 'have a second person approve the request',
      })
    }
    const events = await continueHistory(transaction, store.sealing, history)
    await checkQuiet(store, transaction, before, { now: clock.now(), events })
    const at = clock.now()
    const approved = { ...before, approval: { ...by, at } }
    await putRetirement(transaction, store.sealing, approved)
    await note(store, transaction, { at, epoch, kind: 'retire-approved', ...by }, approved)
    return approved
  })
}

/**
 * Cancels a retirement. Anyone may cancel, because that destroys nothing. The version decrypts
 * again immediately.
 * @throws RetirementError NO_RETIREMENT, or ALREADY_RETIRED once its destruction has begun
 */
export async function cancelRetirement(
  { store, clock }: Pick<RetirementDeps, 'store' | 'clock'>,
  name: VersionName,
  { reason, ...by }: Actor & { readonly reason: string },
): Promise<Retirement> {
  return store.change(async (transaction, epoch) => {
    const before = await findRetirement(store, transaction, name)
    if (before.destroyingSince !== undefined) throw alreadyRetired(before)
    await deleteRetirement(transaction, store.sealing, name)
    const event = { at: clock.now(), epoch, kind: 'retire-cancelled', ...by }
    await note(store, transaction, event, { ...before, reason })
    return before
  })
}

/** Call before a change, and pass the result to `continueHistory` within that change. */
export function loadHistory({ database, sealing }: Store): Promise<History> {
  return database.snapshot((reader) => readHistory(reader, sealing))
}

async function findKey({ keys }: RetirementDeps, keyId: ExternalKeyId) {
  const key = (await keys.listKeys()).find((one) => one.keyId === keyId)
  if (key === undefined) throw new BackendError('KEY_NOT_FOUND', `there is no key ${keyId}`)
  return key
}

/**
 * Returns undefined if the key has no such version, which is also the case once a token has
 * destroyed it.
 */
export async function findVersion(
  deps: RetirementDeps,
  { keyId, version }: VersionName & { readonly keyId: ExternalKeyId },
): Promise<KeyVersionSummary | undefined> {
  const { versions } = await findKey(deps, keyId)
  return versions.find((one) => one.version === version)
}

async function checkRetirable(deps: RetirementDeps, order: RetireOrder): Promise<void> {
  const found = await findVersion(deps, order)
  if (found === undefined || found.state === 'DESTROYED') {
    throw notThere(order)
  }
  if (found.state === 'CURRENT') {
    throw new BackendError('KEY_USAGE', 'the current version cannot be retired', {
      hint: 'rotate the key first',
    })
  }
}

function notThere(name: VersionName): BackendError {
  return new BackendError('VERSION_NOT_FOUND', `there is no ${describeVersion(name)}`)
}

export async function findRetirement(
  store: Store,
  reader: Reader | SealedTransaction,
  name: VersionName,
): Promise<Retirement> {
  const state = 'ledger' in reader ? reader.ledger : undefined
  const found = (await loadRetirements(reader, store.sealing, state)).find((one) =>
    isSameVersion(one, name),
  )
  if (found !== undefined) return found
  throw new RetirementError('NO_RETIREMENT', `${describeVersion(name)} is not being retired`, {
    hint: 'run latchkey keys versions to see the versions that are being retired',
  })
}

export function alreadyRetired(
  { destroyingSince, ...one }: Retirement,
  state = destroyingSince === undefined ? 'is already being retired' : 'is already being destroyed',
): RetirementError {
  return new RetirementError('ALREADY_RETIRED', `${describeVersion(one)} ${state}`, {
    hint: 'run latchkey keys versions to see the state of the version',
  })
}

export function note(
  store: Store,
  transaction: SealedTransaction,
  event: { readonly at: number; readonly epoch: number; readonly kind: string } & Actor,
  { keyStore, keyId, version, reason, quietForMs, waitForMs }: Retirement,
) {
  const { at, epoch, kind, operator, identity } = event
  const detail = { keyStore, keyId, version, reason, identity, quietForMs, waitForMs }
  return appendEvent(transaction, store.sealing, { at, epoch, kind, operator, detail })
}
