/** The parts of a request that several components share: its operation, metadata and record. */
// SPDX-License-Identifier: Apache-2.0

/** XKS 1.0.3, API operations. */
export type Operation = 'GetKeyMetadata' | 'Encrypt' | 'Decrypt' | 'GetHealthStatus'

/** XKS 1.0.3, requestMetadata: the known fields, with unknown ones kept apart. */
export interface RequestMetadata {
  readonly awsPrincipalArn?: string
  readonly awsSourceVpc?: string
  readonly awsSourceVpce?: string
  readonly kmsKeyArn?: string
  readonly kmsOperation: string
  readonly kmsRequestId: string
  readonly kmsViaService?: string
  /** Fields that KMS may add in the future (Appendix B). */
  readonly other?: Readonly<Record<string, unknown>>
}

/**
 * The properties of a request that kill switches match: at the gate, or in a rehearsal of counted
 * requests.
 */
export interface RequestSubject {
  readonly keyStore: string
  readonly operation: Operation
  readonly keyId?: string | undefined
  readonly metadata?: Partial<RequestMetadata> | undefined
  /** Set for requests of Latchkey's own tools; no rule depends on it. */
  readonly isProbe?: boolean | undefined
}

/**
 * Stages in the order in which a request passes them. Handshakes belong to connections and are
 * counted separately.
 */
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
 * The record of one request, the source of its log line, metrics, trace and usage. The pipeline
 * fills it field by field from typed values. It works as an allow-list: plaintext, ciphertext and
 * secrets have no field here.
 */
export interface RequestRecord {
  /** Wall time of the first byte, milliseconds since the Unix epoch. */
  readonly at: number
  readonly remoteAddress: string
  readonly httpVersion: string
  readonly method: string
  readonly target: string
  readonly bodyBytes: number
  keyStore?: string | undefined
  operation?: Operation | undefined
  keyId?: string | undefined
  /** Set once the signature has been verified. */
  accessKeyId?: string | undefined
  region?: string | undefined
  /** Set once the body has been decoded, which happens after the signature was verified. */
  metadata?: RequestMetadata | undefined
  /** The request came from one of Latchkey's own tools: core/probe.ts. */
  isProbe?: true | undefined
  /** Computed from the metadata by policy/principal.ts; GetHealthStatus has none. */
  accessClass?: string | undefined
  /** Ids of the policies that decided; absent when no policy was asked. */
  policies?: readonly string[] | undefined
  policyRevision?: number | undefined
  /**
   * Why the policies in shadow would have denied a request that those in force allowed, and their
   * ids.
   */
  shadowDenial?: { readonly reason: string; readonly policies: readonly string[] } | undefined
  keyVersion?: number | undefined
  /** Epoch of the switches that let the request pass; set if there is an audit log. */
  gateEpoch?: number | undefined
  /** Hex SHA-256 that links an Encrypt to its Decrypts; set if there is an audit log. */
  sealedSha256?: string | undefined
  status?: number | undefined
  /** The error name sent to KMS; xks/errors.ts has the table. */
  errorName?: string | undefined
  /** Our own error code, more precise than `errorName`. */
  reason?: string | undefined
  /** Hex SHA-256 of the body, set after a failed signature to help find the request again. */
  bodySha256?: string | undefined
  /** Request id that the body claims after a failed signature; it is unverified. */
  unverifiedKmsRequestId?: string | undefined
  /** The thrown value, if the fault is Latchkey's own. */
  fault?: unknown
  readonly stages: StageTimes
  /** Milliseconds from the first byte until the answer was handed to the socket. */
  totalMs?: number | undefined
  /** Milliseconds of the TLS handshake, on the first request of a connection. */
  readonly tlsMs?: number | undefined
}
