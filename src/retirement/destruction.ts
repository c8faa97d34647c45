/**
 * Destroys a key version at the end of its retirement. First, one transaction checks everything and
 * marks the retirement. Then the material is destroyed, and a second transaction records the
 * certificate.
 */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../core/ids.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import type { Actor } from '../killswitch/model.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import type { ControlEvent } from '../store/event-log.ts'
import {
  type DestructionCertificate,
  type SignedCertificate,
  isCertificateOf,
  isDestructionOf,
  recordCertificate,
  withProof,
} from './certificate.ts'
import { RetirementError } from './errors.ts'
import { type History, continueHistory } from './history.ts'
import { checkQuietBefore, checkWaited, findQuietSince, tend } from './quiet.ts'
import {
  type RetirementDeps,
  alreadyRetired,
  findRetirement,
  findVersion,
  loadHistory,
  note,
} from './retirement.ts'
import { type VersionName, putRetirement } from './retirement-table.ts'

/**
 * Destroys a version after its waiting period, and returns the certificate. If an attempt fails,
 * another call continues from there, even if the material is gone but no certificate exists yet.
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
  const isThere = before !== undefined && before.state !== 'DESTROYED'
  // This check comes first, because a retirement cannot be cancelled once its destruction has
  // begun.
  if (isThere) await keys.checkDestroyable?.()
  const history = await loadHistory(store)
  const quietSince = await beginDestruction(deps, name, by, history)
  if (isThere) await keys.destroyVersion(name.keyId, name.version)
  const signer = await openSigner(store, 'destruction')
  const { signed, event } = await store.change(async (transaction, epoch) => {
    const retirement = await findRetirement(store, transaction, name)
    const events = await continueHistory(transaction, store.sealing, history)
    if (events.some(isCertificateOf(name))) {
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
 * Checks everything and marks the retirement in one transaction. A later cancellation is refused,
 * so nothing is destroyed after a successful cancellation.
 * @returns the time of the last Decrypt, or the start of the record
 */
function beginDestruction(
  { store, clock }: RetirementDeps,
  name: VersionName,
  by: Actor,
  history: History,
): Promise<number> {
  return store.change(async (transaction, epoch) => {
    const retirement = await findRetirement(store, transaction, name)
    const { approval, destroyingSince } = retirement
    if (approval === undefined) {
      throw new RetirementError('NOT_APPROVED', 'no second person has approved the retirement')
    }
    const at = clock.now()
    const approved = { ...retirement, approval }
    const events = await continueHistory(transaction, store.sealing, history)
    const past = { now: at, events }
    if (destroyingSince !== undefined) {
      if (events.some(isCertificateOf(name))) {
        throw alreadyRetired(retirement, 'was destroyed')
      }
      return findQuietSince(store, transaction, approved, past)
    }
    await checkWaited(store, transaction, approved, past)
    const quietSince = await checkQuietBefore(store, transaction, approved, past)
    await putRetirement(transaction, store.sealing, { ...retirement, destroyingSince: at })
    await note(store, transaction, { at, epoch, kind: 'destruction-started', ...by }, retirement)
    return quietSince
  })
}

/**
 * Returns how the version was destroyed. The absence of a version from a token proves its
 * destruction only if the log shows that Latchkey destroyed it.
 */
function findKeyManager(
  keys: KeyAdministration,
  events: readonly ControlEvent[],
  name: VersionName,
): DestructionCertificate['keyManager'] {
  if (keys.trustKey === undefined) return 'software'
  return events.some(isDestructionOf(name)) ? 'token' : 'absent'
}
