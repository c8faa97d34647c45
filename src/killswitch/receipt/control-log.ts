/**
 * Signs the control log: the tree over the events of the store (store/event-log.ts). The signing
 * key is derived from the store's key, so every instance signs the same log.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Signed } from '../../core/signature.ts'
import { signCheckpoint } from '../../core/tlog/checkpoint.ts'
import { encodeEvidence, type LogCertificate } from '../../core/tlog/evidence.ts'
import { hashTree, proveInclusion, rootOf } from '../../core/tlog/merkle.ts'
import { createNoteSigner, type NoteSigner } from '../../core/tlog/note.ts'
import { encodeEvent, type WrittenEvent } from '../../store/event-log.ts'
import type { ProvableEvent } from '../../store/recent-events.ts'
import type { Store } from '../../store/store.ts'
import { openSigner } from './signing-key.ts'

export interface ControlLogKey {
  readonly signer: NoteSigner
  /** Signed with the receipt key. */
  readonly certificate: Signed<LogCertificate>
}

/** @throws StorageError STORE_TAMPERED */
export async function openControlLogKey(store: Store): Promise<ControlLogKey> {
  const origin = `latchkey/${store.id}/control`
  const seed = store.sealing.derive(`control log ${origin}`)
  const signer = createNoteSigner(origin, seed)
  seed.fill(0)
  const { verifierKey } = signer
  const statement = { kind: 'control log', storeId: store.id, origin, verifierKey } as const
  return { signer, certificate: (await openSigner(store, 'audit')).sign(statement) }
}

/** Returns the proof of an event. Call once the change that wrote the event is committed. */
export function proveWritten({ signer, certificate }: ControlLogKey, event: WrittenEvent): string {
  const { entry, hashes, head, seq } = event
  return encodeEvidence({
    ...{ certificate, entry, hashes, index: seq - 1 },
    checkpoint: signCheckpoint(head, signer),
  })
}

/**
 * Returns the proof of an event in the tree over all events. Hashes the tree in slices, so that
 * other work can run in between.
 */
export async function proveEvent(
  { signer, certificate }: ControlLogKey,
  { event, leaves }: ProvableEvent,
): Promise<string> {
  const [index, size] = [event.seq - 1, leaves.length]
  const node = await hashTree(leaves)
  return encodeEvidence({
    ...{ certificate, entry: encodeEvent(event), index },
    hashes: proveInclusion(node, index, size),
    checkpoint: signCheckpoint({ size, root: rootOf(node, size) }, signer),
  })
}
