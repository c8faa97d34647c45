/**
 * Administration of keys by `latchkey keys`: an optional capability of a backend, separate from
 * serving requests.
 */
// SPDX-License-Identifier: Apache-2.0
import { toCheckValue } from '../core/check-value.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import type { Reader } from '../store/database.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import { BackendError } from './errors.ts'
import type { DateState } from './key-backend.ts'
import type { KeyDates, KeyDatesChange } from './key-dates.ts'

export type KeyStatus = 'ENABLED' | 'DISABLED'

export interface KeyVersionSummary {
  readonly version: number
  /**
   * A CURRENT version encrypts and decrypts. A PREVIOUS version only decrypts. A DESTROYED version
   * is a record without key material.
   */
  readonly state: 'CURRENT' | 'PREVIOUS' | 'DESTROYED'
  /** Milliseconds since the Unix epoch; undefined if the key manager does not know. */
  readonly createdAt: number | undefined
  /**
   * Encryptions reserved so far, an upper bound on those performed; undefined if they are not
   * counted.
   */
  readonly encryptions: number | undefined
  /** CKA_LABEL, CKA_ID in hexadecimal, and CKA_EXTRACTABLE. Set only for keys on a token. */
  readonly token?: { readonly label: string; readonly id: string; readonly isExtractable: boolean }
}

/** Reason that a key on a token is not served, as determined by the code that serves keys. */
export interface KeyProblem {
  /**
   * AMBIGUOUS: several keys have this name. UNUSABLE: the key is not an AES-256 key that allows
   * AES-GCM. REPLACED: the key is not the one that the store has recorded under this name.
   */
  readonly kind: 'AMBIGUOUS' | 'UNUSABLE' | 'REPLACED'
  readonly reason: string
}

export interface KeySummary extends KeyDates {
  readonly keyId: ExternalKeyId
  readonly status: KeyStatus
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly createdAt: number | undefined
  /** Only for keys on a token that are not served. */
  readonly problem?: KeyProblem
  /** Present before the activation date, and from the deactivation date on. */
  readonly dateState?: DateState
  /** Groups and tags from the `labels` document in force; absent if the key has none. */
  readonly groups?: readonly string[]
  readonly tags?: Readonly<Record<string, string>>
  /** In ascending order of versions. */
  readonly versions: readonly KeyVersionSummary[]
}

export interface NewKey {
  readonly keyId: ExternalKeyId
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  /** 32 bytes to import; if absent, random material is generated. */
  readonly material?: Secret<Buffer>
  /** Activation and deactivation dates, which are in effect before the key can be used. */
  readonly dates?: KeyDates
  /** Record of the key ceremony, stored with the import. */
  readonly ceremony?: Ceremony
}

/** Record of the ceremony in which the imported key was made or handed over. */
export interface Ceremony {
  /** SHA-256 of the record, in hex. */
  readonly sha256: string
  readonly bytes: number
  /** Names of the people who were present. */
  readonly witnesses: readonly string[]
}

/**
 * Returns the `key-created` event's details about the key's origin. The check value is computed
 * from the material itself, so the event proves which key was imported.
 * @throws BackendError KEY_USAGE
 */
export function describeOrigin(material: NewKey['material'], ceremony: NewKey['ceremony']) {
  const bytes = material?.reveal()
  if (bytes === undefined) return { isImported: false }
  if (bytes.length !== KEY_BYTES) {
    throw new BackendError(
      'KEY_USAGE',
      `expected an AES-256 key of 32 bytes, found ${String(bytes.length)}`,
    )
  }
  return { isImported: true, checkValue: toCheckValue(bytes), ...(ceremony && { ceremony }) }
}

const KEY_BYTES = 32

export interface KeyPage {
  /** The last key id of the page before, which need not exist anymore; undefined for the first page. */
  readonly after: ExternalKeyId | undefined
  /** Maximum number of keys. */
  readonly limit: number
}

export interface TrustOrder {
  readonly reason: string
  readonly operator: string
}

/** One version whose record `trustKey` changed. */
export interface TrustChange {
  readonly version: number
  /** Check value recorded before this call; absent if there was none. */
  readonly recorded?: string
  /** Check value that this call recorded; absent if the token no longer has the version. */
  readonly found?: string
}

/** Lets another part of Latchkey refuse the destruction of a version. */
export interface DestructionGuard {
  /**
   * Throws an error to refuse. Called in the transaction that destroys the version or, because no
   * transaction covers a token, shortly before a token destroys it.
   */
  check(reader: Reader | SealedTransaction): Promise<void>
  /** Called in the transaction that records what a token has destroyed, which is too late to refuse. */
  settle(transaction: SealedTransaction): Promise<void>
}

/** Every change is durable when its promise resolves, and raises the store's epoch. */
export interface KeyAdministration {
  /** @throws BackendError KEY_EXISTS, KEY_DATES_INVALID */
  createKey(key: NewKey): Promise<KeySummary>
  /**
   * Returns keys in ascending order of key ids.
   * @param page part of the list to return (default: the whole list)
   */
  listKeys(page?: KeyPage): Promise<readonly KeySummary[]>
  /** Creates a new current version; older ones still decrypt. @throws BackendError KEY_NOT_FOUND */
  rotateKey(keyId: ExternalKeyId): Promise<KeySummary>
  /** @throws BackendError KEY_NOT_FOUND */
  setKeyStatus(keyId: ExternalKeyId, status: KeyStatus): Promise<KeySummary>
  /** @throws BackendError KEY_NOT_FOUND, KEY_DATES_INVALID */
  setKeyDates(keyId: ExternalKeyId, change: KeyDatesChange): Promise<KeySummary>
  /**
   * Permanently shreds the material of one version. Refuses the current version, so rotate the key
   * first.
   * @throws BackendError KEY_NOT_FOUND, VERSION_NOT_FOUND, KEY_USAGE (the version is current)
   */
  destroyVersion(
    keyId: ExternalKeyId,
    version: number,
    guard?: DestructionGuard,
  ): Promise<KeySummary>
  /**
   * Checks that `destroyVersion` can destroy versions of this key store at all. Absent if it always
   * can.
   * @throws BackendError MISCONFIGURED
   */
  checkDestroyable?(): Promise<void>
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
