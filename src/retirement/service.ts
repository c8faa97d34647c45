/** The retirement of key versions as one service, for the commands and for the admin listener. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../core/ids.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import type { Actor } from '../killswitch/model.ts'
import type { Store } from '../store/store.ts'
import { RetirementError } from './errors.ts'
import {
  approveRetirement,
  cancelRetirement,
  type RetirementDeps,
  type RetireOrder,
  reportVersions,
  requestRetirement,
  type VersionReport,
} from './retirement.ts'
import {
  describeVersion,
  isSameVersion,
  loadRetirements,
  type Retirement,
  type VersionName,
} from './retirement-table.ts'

/**
 * Every step of a retirement except the destruction, which `shredVersion` performs on the store's
 * host.
 */
export interface Retirements {
  /** @throws BackendError KEY_NOT_FOUND */
  report(keyStore: string, keyId: ExternalKeyId): Promise<readonly VersionReport[]>
  /** Returns all retirements of a key store, including retirements whose version was destroyed. */
  list(keyStore: string): Promise<readonly Retirement[]>
  /** @throws the same errors as requestRetirement */
  request(order: RetireOrder): Promise<Retirement>
  /** @throws the same errors as approveRetirement */
  approve(name: VersionName, by: Actor): Promise<Retirement>
  /** @throws the same errors as cancelRetirement */
  cancel(name: VersionName, by: Actor & { readonly reason: string }): Promise<Retirement>
}

export function createRetirements(deps: RetirementDeps): Retirements {
  const { store } = deps
  return {
    report: (keyStore, keyId) => reportVersions(deps, keyStore, keyId),
    list: async (keyStore) =>
      (await store.database.snapshot((reader) => loadRetirements(reader, store.sealing))).filter(
        (one) => one.keyStore === keyStore,
      ),
    request: (order) => requestRetirement(deps, order),
    approve: (name, by) => approveRetirement(deps, name, by),
    cancel: (name, by) => cancelRetirement(deps, name, by),
  }
}

/**
 * Returns a key administration that refuses to destroy a version during its retirement. Otherwise,
 * the certificate at the end of the retirement would vouch for an approval and a waiting period
 * that the destruction did not have. `shredVersion` must not use it.
 */
export function protectRetiring(
  keys: KeyAdministration,
  { store, keyStore }: { readonly store: Store; readonly keyStore: string },
): KeyAdministration {
  return {
    ...keys,
    async destroyVersion(keyId, version) {
      const name = { keyStore, keyId, version }
      const all = await store.database.snapshot((reader) => loadRetirements(reader, store.sealing))
      const found = all.find((one) => isSameVersion(one, name))
      if (found !== undefined) {
        const state = found.destroyingSince === undefined ? 'retired' : 'destroyed'
        const message = `${describeVersion(name)} is being ${state}`
        throw new RetirementError('ALREADY_RETIRED', message, {
          hint: 'latchkey keys shred destroys it at the end; latchkey keys cancel-retirement ends the retirement',
        })
      }
      return keys.destroyVersion(keyId, version)
    },
  }
}
