/**
 * The certificate of destruction of a key version: signed, with a proof that the control log
 * contains it.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Signed } from '../core/signature.ts'
import type { Actor } from '../killswitch/model.ts'
import { openControlLogKey, proveEvent, proveWritten } from '../killswitch/receipt/control-log.ts'
import { appendEvent, type ControlEvent, readEvents } from '../store/event-log.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import { RetirementError } from './errors.ts'
import {
  type Retirement,
  type VersionName,
  describeVersion,
  isSameVersion,
} from './retirement-table.ts'

/** The signed statement that a version was destroyed. Times as in `Retirement`. */
export interface DestructionCertificate extends Omit<Retirement, 'destroyedAt'> {
  readonly kind: 'destruction'
  readonly storeId: string
  /** The last recorded Decrypt, the ledger's start, or the end of its last gap. */
  readonly quietSince: number
  /** `software`: the sealed material was erased from the store; `token`: the token destroyed the key. */
  readonly keyManager: 'software' | 'token'
  readonly destroyedAt: number
  readonly destroyedBy: Actor
}

export interface SignedCertificate extends Signed<DestructionCertificate> {
  /**
   * Proof that the control log contains the certificate, as text for `latchkey audit check-proof`.
   */
  readonly proof?: string
}

/** Kind of the event that holds a certificate. */
const DESTROYED = 'version-destroyed'

export function recordCertificate(
  store: Store,
  transaction: SealedTransaction,
  { signed, epoch }: { readonly signed: Signed<DestructionCertificate>; readonly epoch: number },
) {
  const { destroyedAt: at, destroyedBy } = signed.statement
  const { operator } = destroyedBy
  const event = { at, epoch, kind: DESTROYED, operator, detail: { ...signed } }
  return appendEvent(transaction, store.sealing, event)
}

/** Call once the event is committed. */
export async function withProof(
  store: Store,
  signed: Signed<DestructionCertificate>,
  event: Awaited<ReturnType<typeof recordCertificate>>,
): Promise<SignedCertificate> {
  return { ...signed, proof: proveWritten(await openControlLogKey(store), event) }
}

/** Returns the certificate of a destroyed version. @throws RetirementError NO_RETIREMENT */
export async function findCertificate(store: Store, name: VersionName): Promise<SignedCertificate> {
  const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
  const certificateOf = ({ detail }: ControlEvent) =>
    detail as unknown as Signed<DestructionCertificate>
  const found = events.findLast(
    (event) => event.kind === DESTROYED && isSameVersion(certificateOf(event).statement, name),
  )
  if (found === undefined) {
    const message = `${describeVersion(name)} has no certificate of destruction`
    throw new RetirementError('NO_RETIREMENT', message)
  }
  const proof = proveEvent(await openControlLogKey(store), events, found.seq)
  return { ...certificateOf(found), ...(proof === undefined ? {} : { proof }) }
}
