/**
 * The credentials that KMS signs with. During a rotation, a key store has more than one active
 * credential.
 */
// SPDX-License-Identifier: Apache-2.0
import type { AccessKeyId, KeyStoreName } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import { forEachInSlices } from '../core/slices.ts'

export interface Credential {
  readonly accessKeyId: AccessKeyId
  readonly keyStore: KeyStoreName
  /** The raw secret access key: 43 to 64 characters of A-Z, a-z, 0-9, slash, plus and equals. */
  readonly secretAccessKey: Secret
  /** Milliseconds since the Unix epoch; from then on, the credential is refused. */
  readonly expiresAt?: number
  /** Milliseconds since the Unix epoch; set for credentials from the store. */
  readonly createdAt?: number
}

/** Looks up a key store's credential in memory. Never returns a revoked credential. */
export type CredentialLookup = (accessKeyId: string) => Credential | undefined

/** Changes to the set of active credentials. */
export interface CredentialChanges {
  /** If true, `put` contains all active credentials and replaces everything passed before. */
  readonly isReset: boolean
  readonly put: readonly Credential[]
  /** Access key ids of credentials that are no longer active. */
  readonly removed: readonly string[]
}

/**
 * Calls `apply` with the changes since the previous call, or not at all if there are none. Changes
 * count as seen once `apply` has resolved. Calls must not overlap.
 */
export type FollowCredentials = (
  apply: (changes: CredentialChanges) => Promise<void>,
) => Promise<void>

export interface CredentialSnapshot {
  /** Returns a lookup that is limited to one key store's credentials. */
  lookup(keyStore: KeyStoreName): CredentialLookup
  /** Credentials of all key stores. */
  all(): readonly Credential[]
  /**
   * Applies the changes in the store. On failure, the old credentials stay in effect and the error
   * is rethrown; to drop them too, call `forget`.
   */
  reload(): Promise<void>
  /** Makes lookups find no credentials until the next successful reload. */
  forget(): void
}

/** Number of credentials compared in one turn of the event loop. */
const SLICE = 500

export function createCredentialSnapshot(follow: FollowCredentials): CredentialSnapshot {
  let known = new Map<string, Credential>()
  let isForgotten = false

  /**
   * Applies the changes. Unchanged credentials keep their object, and with it their cached signing
   * keys.
   */
  async function apply({ isReset, put, removed }: CredentialChanges): Promise<void> {
    const next = isReset ? new Map<string, Credential>() : known
    for (const id of removed) next.delete(id)
    await forEachInSlices(put, SLICE, (one) => {
      const before = known.get(one.accessKeyId)
      next.set(one.accessKeyId, before !== undefined && isSame(before, one) ? before : one)
    })
    known = next
  }

  return {
    lookup: (keyStore) => (accessKeyId) => {
      const found = isForgotten ? undefined : known.get(accessKeyId)
      return found?.keyStore === keyStore ? found : undefined
    },
    all: () => (isForgotten ? [] : [...known.values()]),
    async reload() {
      await follow(apply)
      isForgotten = false
    },
    forget() {
      isForgotten = true
    },
  }
}

function isSame(a: Credential, b: Credential): boolean {
  return (
    a.keyStore === b.keyStore &&
    a.expiresAt === b.expiresAt &&
    a.secretAccessKey.reveal() === b.secretAccessKey.reveal()
  )
}
