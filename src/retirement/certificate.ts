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
import { type Retirement, type VersionName, isSameVersion } from './retirement-table.ts'

/** The signed statement that a version was destroyed. Times as in `Retirement`. */
export interface DestructionCertificate extends Retirement {
  readonly kind: 'destruction'
  readonly storeId: string
  /** The last recorded Decrypt, the ledger's start, or the end of its last gap. */
  readonly quietSince: number
  /**
   * `software`: the sealed material was erased from the store; `token`: the token destroyed the key for
   * Latchkey; `absent`: the token no longer lists the key, and Latchkey did not destroy it, so it may
   * exist under another name or elsewhere.
   */
  readonly keyManager: 'software' | 'token' | 'absent'
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

/** Returns the event that holds the certificate of a version, if it has one. */
export function findCertificateEvent(
  events: readonly ControlEvent[],
  name: VersionName,
): ControlEvent | undefined {
  return events.findLast(
    (event) => event.kind === DESTROYED && isSameVersion(certificateOf(event).statement, name),
  )
}

function certificateOf({ detail }: ControlEvent): Signed<DestructionCertificate> {
  return detail as unknown as Signed<DestructionCertificate>
}

/** Returns the certificate of a destroyed version; undefined if it has none. */
export async function findCertificate(
  store: Store,
  name: VersionName,
): Promise<SignedCertificate | undefined> {
  const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
  const found = findCertificateEvent(events, name)
  if (found === undefined) return undefined
  const proof = proveEvent(await openControlLogKey(store), events, found.seq)
  return { ...certificateOf(found), ...(proof === undefined ? {} : { proof }) }
}
