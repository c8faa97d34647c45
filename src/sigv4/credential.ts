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
