/** KMS's view of an external key store: a URI path with its own keys, credentials and quota. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyBackend } from '../keys/key-backend.ts'
import type { KeyStoreName } from '../core/ids.ts'
import type { CredentialLookup } from '../sigv4/credential.ts'
import type { HealthProbe } from './health-probe.ts'
import type { Quota } from './quota.ts'

export interface KeyStore {
  readonly name: KeyStoreName
  /** XksProxyUriPath: the prefix followed by /kms/xks/v1. */
  readonly uriPath: string
  /** AWS regions from which KMS may call; undefined for any. */
  readonly regions: readonly string[] | undefined
  readonly credentials: CredentialLookup
  readonly quota: Quota
  readonly backend: KeyBackend
  readonly health: HealthProbe
  /** Whether every Encrypt result is decrypted and compared, even if no CDIV was requested. */
  readonly verifyEveryEncrypt: boolean
  /**
   * Ciphertext formats that Decrypt accepts, besides Latchkey's own and the format of other proxies
   * that follow the specification.
   */
  readonly accept: readonly 'aws-sample'[]
  /** Reports whether a version refuses Decrypt because it is being retired. */
  isRetired(keyId: string, version: number): boolean
}

export type KeyStoreLookup = (uriPath: string) => KeyStore | undefined
