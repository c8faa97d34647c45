/** The vocabulary of a request that several components share: its operation, metadata and record. */
// SPDX-License-Identifier: Apache-2.0

/** XKS 1.0.3, API operations. */
export type Operation = 'GetKeyMetadata' | 'Encrypt' | 'Decrypt' | 'GetHealthStatus'

/** XKS 1.0.3, requestMetadata: known fields, and unknown ones apart. */
export interface RequestMetadata {
  readonly awsPrincipalArn?: string
  readonly awsSourceVpc?: string
  readonly awsSourceVpce?: string
  readonly kmsKeyArn?: string
  readonly kmsOperation: string
  readonly kmsRequestId: string
  readonly kmsViaService?: string
  /** Fields that KMS may add one day (Appendix B). */
  readonly other?: Readonly<Record<string, unknown>>
}

/** What kill switches are judged by: the gate asks about a request, a rehearsal about a counted one. */
export interface RequestSubject {
  readonly keyStore: string
  readonly operation: Operation
  readonly keyId?: string | undefined
  readonly metadata?: Partial<RequestMetadata> | undefined
}

/** The stages in the order in which a request meets them. Handshakes belong to connections and are counted apart. */
export const STAGES = [
  'read',
  'auth',
  'decode',
  'gate',
  'key',
  'policy',
  'backend',
  'verify',
  'encode',
] as const
export type Stage = (typeof STAGES)[number]

/** Milliseconds in the order of STAGES; NaN where the request did not reach the stage. */
export type StageTimes = readonly number[]

/**
 * The record of one request, from which log line, metrics, traces and usage are made. It is filled field by field from
 * typed values as the request goes along: an allow-list, so plaintext, ciphertext and secrets have no place in it.
 */
export interface RequestRecord {
  /** Wall time of the first byte, milliseconds since the Unix epoch. */
  readonly at: number
  readonly remoteAddress: string
  readonly httpVersion: string
  readonly method: string
  readonly target: string
  readonly bodyBytes: number
  keyStore?: string
  operation?: Operation
  keyId?: string
  /** Set once the signature was verified. */
  accessKeyId?: string
  region?: string
  /** Set once the body was decoded, which happens after the signature was verified. */
  metadata?: RequestMetadata
  keyVersion?: number
  status?: number
  /** The name that KMS was told; xks/errors.ts has the table. */
  errorName?: string
  /** Our own code for what went wrong, more precise than `errorName`. */
  reason?: string
  /** After a failed signature, to find the request again: hex SHA-256 of the body. */
  bodySha256?: string
  /** After a failed signature: what the body claims, which nothing vouches for. */
  unverifiedKmsRequestId?: string
  /** The value that was thrown, when the fault is ours. */
  fault?: unknown
  readonly stages: StageTimes
  /** From the first byte to the moment in which the answer was handed to the socket. */
  totalMs?: number
  /** The handshake, on the first request of a connection. */
  readonly tlsMs?: number | undefined
}
