/**
 * The credentials that KMS signs with. During a rotation, a key store has more than one active
 * credential.
 */
// SPDX-License-Identifier: Apache-2.0
import type { AccessKeyId, KeyStoreName } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'

export interface Credential {
  readonly accessKeyId: AccessKeyId
  readonly keyStore: KeyStoreName
  /** The raw secret access key: 43 to 64 characters of A-Z, a-z, 0-9, slash, plus and equals. */
  readonly secretAccessKey: Secret
  /** Milliseconds since the Unix epoch; the credential is refused from that instant on. */
  readonly expiresAt?: number
  /** Milliseconds since the Unix epoch; set for credentials from the store. */
  readonly createdAt?: number
}

/** Finds a credential of one key store in memory. Revoked credentials are not found. */
export type CredentialLookup = (accessKeyId: string) => Credential | undefined

export interface CredentialSnapshot {
  /** Returns the lookup for one key store, which does not see the credentials of others. */
  lookup(keyStore: KeyStoreName): CredentialLookup
  /** Credentials of all key stores. */
  all(): readonly Credential[]
  /**
   * Replaces the credentials with what `load` returns. On failure the old credentials stay and the
   * error is rethrown; call `forget` if they must not stay.
   */
  reload(): Promise<void>
  forget(): void
}

type ByKeyStore = ReadonlyMap<KeyStoreName, ReadonlyMap<string, Credential>>

export function createCredentialSnapshot(
  load: () => Promise<readonly Credential[]>,
): CredentialSnapshot {
  let current: ByKeyStore = new Map()
  let last: readonly Credential[] | undefined
  return {
    lookup: (keyStore) => (accessKeyId) => current.get(keyStore)?.get(accessKeyId),
    all: () => [...current.values()].flatMap((ofStore) => [...ofStore.values()]),
    async reload() {
      const loaded = await load()
      if (loaded === last) return
      current = merge(current, loaded)
      last = loaded
    },
    forget() {
      current = new Map()
      last = undefined
    },
  }
}

/** Unchanged credentials keep their object, and with it their cached signing keys. */
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
