/**
 * Destroys a key version at the end of its retirement. One change checks everything and marks the
 * retirement, then the material is destroyed, and a second change records the certificate.
 */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../core/ids.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import type { Actor } from '../killswitch/model.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import { type ControlEvent, readEvents } from '../store/event-log.ts'
import {
  type DestructionCertificate,
  type SignedCertificate,
  findCertificateEvent,
  recordCertificate,
  withProof,
} from './certificate.ts'
import { RetirementError } from './errors.ts'
import { checkQuietBefore, checkWaited, findQuietSince, tend } from './quiet.ts'
import {
  type RetirementDeps,
  alreadyRetired,
  findRetirement,
  findVersion,
  note,
} from './retirement.ts'
import { type VersionName, putRetirement } from './retirement-table.ts'

/**
 * Destroys a version after its waiting period, and returns the certificate. Running it again after
 * a failure continues, even if the material is gone and there is no certificate yet.
 * @throws RetirementError NO_RETIREMENT, NOT_APPROVED, NOT_QUIET, ALREADY_RETIRED; ControlError
 * NOT_READY; BackendError
 */
export async function shredVersion(
  deps: RetirementDeps,
  name: VersionName & { readonly keyId: ExternalKeyId },
  by: Actor,
): Promise<SignedCertificate> {
  const { store, clock, keys } = deps
  await tend(store, clock.now())
  const before = await findVersion(deps, name)
  const quietSince = await beginDestruction(deps, name, by)
  const isThere = before !== undefined && before.state !== 'DESTROYED'
  if (isThere) await keys.destroyVersion(name.keyId, name.version)
  const signer = await openSigner(store, 'destruction')
  const { signed, event } = await store.change(async (transaction, epoch) => {
    const retirement = await findRetirement(store, transaction, name)
    const events = await readEvents(transaction, store.sealing)
    if (findCertificateEvent(events, name) !== undefined) {
      throw alreadyRetired(retirement, 'was destroyed')
    }
    const signed = signer.sign<DestructionCertificate>({
      ...{ kind: 'destruction', storeId: store.id, quietSince },
      ...{ keyManager: findKeyManager(keys, events, name), ...retirement },
      ...{ destroyedAt: clock.now(), destroyedBy: by },
    })
    const event = await recordCertificate(store, transaction, { signed, epoch })
    return { signed, event }
  })
  return withProof(store, signed, event)
}

/**
 * Checks everything and marks the retirement in one change. A cancellation comes before it, or is
 * refused, so nothing is destroyed after a cancellation has succeeded.
 * @returns the last Decrypt, or the start of the record
 */
function beginDestruction(
  { store, clock }: RetirementDeps,
  name: VersionName,
  by: Actor,
): Promise<number> {
  return store.change(async (transaction, epoch) => {
    const retirement = await findRetirement(store, transaction, name)
    const { approval, destroyingSince } = retirement
    if (approval === undefined) {
      throw new RetirementError('NOT_APPROVED', 'no second person has approved the retirement')
    }
    const at = clock.now()
    const approved = { ...retirement, approval }
    if (destroyingSince !== undefined) {
      const events = await readEvents(transaction, store.sealing)
      if (findCertificateEvent(events, name) !== undefined) {
        throw alreadyRetired(retirement, 'was destroyed')
      }
      return findQuietSince(store, transaction, approved, at)
    }
    await checkWaited(store, transaction, approved, at)
    const quietSince = await checkQuietBefore(store, transaction, approved, at)
    await putRetirement(transaction, store.sealing, { ...retirement, destroyingSince: at })
    await note(store, transaction, { at, epoch, kind: 'destruction-started', ...by }, retirement)
    return quietSince
  })
}

/** A version that a token does not list is not proven to be destroyed, unless Latchkey did it. */
function findKeyManager(
  keys: KeyAdministration,
  events: readonly ControlEvent[],
  { keyStore, keyId, version }: VersionName,
): DestructionCertificate['keyManager'] {
  if (keys.trustKey === undefined) return 'software'
  const isOurs = events.some(
    ({ kind, detail }) =>
      kind === 'key-version-destroyed' &&
      detail['keyStore'] === keyStore &&
      detail['keyId'] === keyId &&
      detail['version'] === version,
  )
  return isOurs ? 'token' : 'absent'
}
