/** One external key store, as KMS sees it: a URI path with keys, credentials and a quota of its own. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyBackend } from '../keys/key-backend.ts'
import type { KeyStoreName } from '../core/ids.ts'
import type { CredentialLookup } from '../sigv4/credential.ts'
import type { HealthProbe } from './health-probe.ts'
import type { Quota } from './quota.ts'

export interface KeyStore {
  readonly name: KeyStoreName
  /** XksProxyUriPath: prefix and /kms/xks/v1. */
  readonly uriPath: string
  /** AWS regions whose KMS may call; undefined: any. */
  readonly regions: readonly string[] | undefined
  readonly credentials: CredentialLookup
  readonly quota: Quota
  readonly backend: KeyBackend
  readonly health: HealthProbe
  /** Decrypt and compare what every Encrypt made, even when KMS did not ask for a CDIV. */
  readonly verifyEveryEncrypt: boolean
  /** Whose ciphertexts Decrypt opens beside ours and those of proxies that follow the specification. */
  readonly accept: readonly 'aws-sample'[]
}

export type KeyStoreLookup = (uriPath: string) => KeyStore | undefined
