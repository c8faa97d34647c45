/**
 * Administration of keys by `latchkey keys`: an optional capability of a backend, separate from
 * serving requests.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../core/secret.ts'
import type { ExternalKeyId } from '../core/ids.ts'

export type KeyStatus = 'ENABLED' | 'DISABLED'

export interface KeyVersionSummary {
  readonly version: number
  /** CURRENT encrypts and decrypts; PREVIOUS decrypts; DESTROYED is a record without material. */
  readonly state: 'CURRENT' | 'PREVIOUS' | 'DESTROYED'
  /** Milliseconds since the Unix epoch; undefined if the key manager does not know. */
  readonly createdAt: number | undefined
  /**
   * Encryptions reserved so far, an upper bound of those performed; undefined if they are not
   * counted.
   */
  readonly encryptions: number | undefined
  /** Only for keys on a token: CKA_LABEL, CKA_ID in hexadecimal, CKA_EXTRACTABLE. */
  readonly token?: { readonly label: string; readonly id: string; readonly isExtractable: boolean }
}

/** Why a key on a token is not served, as decided by the code that serves. */
export interface KeyProblem {
  /**
   * AMBIGUOUS: several keys have its name. UNUSABLE: it is not an AES-256 key that allows AES-GCM. REPLACED: it is not
   * the key that the store knows by this name.
   */
  readonly kind: 'AMBIGUOUS' | 'UNUSABLE' | 'REPLACED'
  readonly reason: string
}

export interface KeySummary {
  readonly keyId: ExternalKeyId
  readonly status: KeyStatus
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly createdAt: number | undefined
  /** Only for keys on a token that are not served. */
  readonly problem?: KeyProblem
  /** In ascending order of versions. */
  readonly versions: readonly KeyVersionSummary[]
}

export interface NewKey {
  readonly keyId: ExternalKeyId
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  /** 32 bytes to import; if absent, random material is generated. */
  readonly material?: Secret<Buffer>
}

export interface TrustOrder {
  readonly reason: string
  readonly operator: string
}

/** One version whose record `trustKey` changed. */
export interface TrustChange {
  readonly version: number
  /** Check value recorded before; absent if there was none. */
  readonly recorded?: string
  /** Check value recorded now; absent if the token no longer has the version. */
  readonly found?: string
}

/** Every change is durable when its promise resolves, and raises the store's epoch. */
export interface KeyAdministration {
  /** @throws BackendError KEY_EXISTS */
  createKey(key: NewKey): Promise<KeySummary>
  /** Returns keys in ascending order of key ids. */
  listKeys(): Promise<readonly KeySummary[]>
  /** Creates a new current version; older ones still decrypt. @throws BackendError KEY_NOT_FOUND */
  rotateKey(keyId: ExternalKeyId): Promise<KeySummary>
  /** @throws BackendError KEY_NOT_FOUND */
  setKeyStatus(keyId: ExternalKeyId, status: KeyStatus): Promise<KeySummary>
  /**
   * Shreds the material of one version permanently. Refuses the current version: rotate first.
   * @throws BackendError KEY_NOT_FOUND, VERSION_NOT_FOUND, KEY_USAGE (the version is current)
   */
  destroyVersion(keyId: ExternalKeyId, version: number): Promise<KeySummary>
  /**
   * Accepts the key that is now on a token in place of the recorded one. Absent for key stores
   * without a token.
   * @throws BackendError KEY_NOT_FOUND
   */
  trustKey?(
    keyId: ExternalKeyId,
    order: TrustOrder,
  ): Promise<{ readonly key: KeySummary; readonly changes: readonly TrustChange[] }>
}
