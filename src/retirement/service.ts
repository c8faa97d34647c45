/** The retirement of key versions as one service, for the commands and for the admin listener. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import type { Actor } from '../killswitch/model.ts'
import type { Reader } from '../store/database.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import { RetirementError } from './errors.ts'
import {
  approveRetirement,
  cancelRetirement,
  note,
  type RetirementDeps,
  type RetireOrder,
  reportVersions,
  requestRetirement,
  type VersionReport,
} from './retirement.ts'
import {
  deleteRetirement,
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

export interface ProtectDeps {
  readonly store: Store
  readonly keyStore: string
  readonly clock: Clock
  /** Operator recorded if a destruction on a token ends a retirement. */
  readonly operator: string
}

/**
 * Returns a key administration that refuses to destroy a version during its retirement. Otherwise,
 * the retirement's certificate would attest to an approval and a waiting period that the
 * destruction did not have. The check is part of the transaction that destroys the version. A token
 * destroys a version outside of any transaction, so a retirement that is requested meanwhile is
 * cancelled. `shredVersion` must not use this administration.
 */
export function protectRetiring(
  keys: KeyAdministration,
  { store, keyStore, clock, operator }: ProtectDeps,
): KeyAdministration {
  const find = async (reader: Reader | SealedTransaction, name: VersionName) => {
    const ledger = 'ledger' in reader ? reader.ledger : undefined
    const all = await loadRetirements(reader, store.sealing, ledger)
    return all.find((one) => isSameVersion(one, name))
  }
  return {
    ...keys,
    destroyVersion(keyId, version) {
      const name = { keyStore, keyId, version }
      return keys.destroyVersion(keyId, version, {
        async check(reader) {
          const found = await find(reader, name)
          if (found === undefined) return
          const state = found.destroyingSince === undefined ? 'retired' : 'destroyed'
          const message = `${describeVersion(name)} is being ${state}`
          throw new RetirementError('ALREADY_RETIRED', message, {
            hint: 'run latchkey keys shred to destroy the version after the waiting period, or latchkey keys cancel-retirement to cancel the retirement',
          })
        },
        async settle(transaction) {
          const found = await find(transaction, name)
          if (found === undefined) return
          await deleteRetirement(transaction, store.sealing, name)
          const by = { operator, identity: 'latchkey' }
          await note(
            store,
            transaction,
            { at: clock.now(), epoch: transaction.ledger.epoch, kind: 'retire-cancelled', ...by },
            { ...found, reason: 'the version was destroyed while its retirement was requested' },
          )
        },
      })
    },
  }
}
