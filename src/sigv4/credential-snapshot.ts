/** The credentials in force, in memory: what the hot path looks up, replaced as a whole on change. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreName } from '../core/ids.ts'
import type { Credential, CredentialLookup } from './credential.ts'

export interface CredentialSnapshot {
  /** Finds the credentials of one key store; those of others do not exist for it. */
  lookup(keyStore: KeyStoreName): CredentialLookup
  /** Of all key stores. */
  all(): readonly Credential[]
  /**
   * Takes up what `load` returns. When that fails the old credentials stay, and the error is thrown
   * on; `forget` is for the case where they must not.
   */
  reload(): Promise<void>
  forget(): void
}

type ByKeyStore = ReadonlyMap<KeyStoreName, ReadonlyMap<string, Credential>>

export function createCredentialSnapshot(
  load: () => Promise<readonly Credential[]>,
): CredentialSnapshot {
  let current: ByKeyStore = new Map()
  return {
    lookup: (keyStore) => (accessKeyId) => current.get(keyStore)?.get(accessKeyId),
    all: () => [...current.values()].flatMap((ofStore) => [...ofStore.values()]),
    async reload() {
      current = merge(current, await load())
    },
    forget() {
      current = new Map()
    },
  }
}

/** Unchanged credentials keep their object, and with it the signing keys that are cached for it. */
function merge(before: ByKeyStore, loaded: readonly Credential[]): ByKeyStore {
  const after = new Map<KeyStoreName, Map<string, Credential>>()
  for (const credential of loaded) {
    const known = before.get(credential.keyStore)?.get(credential.accessKeyId)
    const same = known !== undefined && isSame(known, credential)
    let ofStore = after.get(credential.keyStore)
    if (ofStore === undefined)
      after.set(credential.keyStore, (ofStore = new Map<string, Credential>()))
    ofStore.set(credential.accessKeyId, same ? known : credential)
  }
  return after
}

function isSame(a: Credential, b: Credential): boolean {
  return a.expiresAt === b.expiresAt && a.secretAccessKey.reveal() === b.secretAccessKey.reveal()
}
