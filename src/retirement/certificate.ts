/**
 * The certificate of destruction of a key version: signed, with a proof that the control log
 * contains it.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Signed } from '../core/signature.ts'
import type { Actor } from '../killswitch/model.ts'
import { openControlLogKey, proveEvent, proveWritten } from '../killswitch/receipt/control-log.ts'
import { appendEvent, type ControlEvent } from '../store/event-log.ts'
import { findProvable } from '../store/recent-events.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import { type Retirement, type VersionName, isSameVersion } from './retirement-table.ts'

/**
 * The signed statement that a version was destroyed. Times have the same format as in `Retirement`.
 */
export interface DestructionCertificate extends Retirement {
  readonly kind: 'destruction'
  readonly storeId: string
  /** Time of the last recorded Decrypt, of the ledger's start, or of the end of its last gap. */
  readonly quietSince: number
  /**
   * `software`: the sealed material was erased from the store; `token`: the token destroyed the key
   * at Latchkey's request; `absent`: the token no longer lists the key, and Latchkey did not
   * destroy it, so it may exist under another name or elsewhere.
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
export const CERTIFIED = 'version-destroyed'
/** Kind of the event with which a key manager records that it destroyed a version. */
export const VERSION_DESTROYED = 'key-version-destroyed'

export function recordCertificate(
  store: Store,
  transaction: SealedTransaction,
  { signed, epoch }: { readonly signed: Signed<DestructionCertificate>; readonly epoch: number },
) {
  const { destroyedAt: at, destroyedBy } = signed.statement
  const { operator } = destroyedBy
  const event = { at, epoch, kind: CERTIFIED, operator, detail: { ...signed } }
  return appendEvent(transaction, store.sealing, event)
}

/** Adds the proof. Call only after the event is committed. */
export async function withProof(
  store: Store,
  signed: Signed<DestructionCertificate>,
  event: Awaited<ReturnType<typeof recordCertificate>>,
): Promise<SignedCertificate> {
  return { ...signed, proof: proveWritten(await openControlLogKey(store), event) }
}

/** Returns a filter for the event that records that Latchkey destroyed a version. */
export function isDestructionOf({
  keyStore,
  keyId,
  version,
}: VersionName): (event: ControlEvent) => boolean {
  return ({ kind, detail }) =>
    kind === VERSION_DESTROYED &&
    detail['keyStore'] === keyStore &&
    detail['keyId'] === keyId &&
    detail['version'] === version
}

/** Returns a filter for the event that contains a version's certificate. */
export function isCertificateOf(name: VersionName): (event: ControlEvent) => boolean {
  return (event) => event.kind === CERTIFIED && isSameVersion(certificateOf(event).statement, name)
}

function certificateOf({ detail }: ControlEvent): Signed<DestructionCertificate> {
  return detail as unknown as Signed<DestructionCertificate>
}

/** Returns the certificate of a destroyed version; undefined if it has none. */
export async function findCertificate(
  store: Store,
  name: VersionName,
): Promise<SignedCertificate | undefined> {
  const found = await store.database.snapshot((reader) =>
    findProvable(reader, store.sealing, isCertificateOf(name)),
  )
  if (found === undefined) return undefined
  const proof = await proveEvent(await openControlLogKey(store), found)
  return { ...certificateOf(found.event), proof }
}
