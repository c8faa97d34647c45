/** The credentials that KMS signs with. A key store has one or more active at a time (rotation). */
// SPDX-License-Identifier: Apache-2.0
import type { AccessKeyId, KeyStoreName } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'

export interface Credential {
  readonly accessKeyId: AccessKeyId
  readonly keyStore: KeyStoreName
  /** The raw secret access key: 43 to 64 characters of A-Z, a-z, 0-9, slash, plus and equals. */
  readonly secretAccessKey: Secret
  /** Milliseconds since the Unix epoch; from that instant on it is refused. */
  readonly expiresAt?: number
  /** Milliseconds since the Unix epoch; known of those that come from the store. */
  readonly createdAt?: number
}

/** Finds the credential of one key store in memory. Revoked credentials are not found. */
export type CredentialLookup = (accessKeyId: string) => Credential | undefined

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
