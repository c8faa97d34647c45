/** The parts of a request that several components share: its operation, metadata and record. */
// SPDX-License-Identifier: Apache-2.0

/** The operations of the API (XKS 1.0.3, API operations). */
export type Operation = 'GetKeyMetadata' | 'Encrypt' | 'Decrypt' | 'GetHealthStatus'

/** The known fields of requestMetadata (XKS 1.0.3). Unknown fields are kept apart, in `other`. */
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
 * The properties of a request that kill switches match, both at the gate and in a rehearsal of
 * counted requests.
 */
export interface RequestSubject {
  readonly keyStore: string
  readonly operation: Operation
  readonly keyId?: string | undefined
  readonly metadata?: Partial<RequestMetadata> | undefined
  /** Set for requests of Latchkey's own tools. No rule depends on this property. */
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

/** Milliseconds in the order of STAGES; NaN if the request did not reach the stage. */
export type StageTimes = readonly number[]

/**
 * The record of one request, from which its log line, metrics, trace and usage are derived. The
 * pipeline fills it field by field from typed values. It works as an allow-list: there is no field
 * for plaintext, ciphertext or secrets.
 */
export interface RequestRecord {
  /** Wall time at which the first byte arrived, in milliseconds since the Unix epoch. */
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
  /** The request came from one of Latchkey's own tools; see core/probe.ts. */
  isProbe?: true | undefined
  /** Computed from the metadata by policy/principal.ts; GetHealthStatus has none. */
  accessClass?: string | undefined
  /** Ids of the policies that decided the request; absent if no policy was evaluated. */
  policies?: readonly string[] | undefined
  policyRevision?: number | undefined
  /**
   * Reason and ids of the shadow policies that would have denied a request that the policies in
   * force allowed.
   */
  shadowDenial?: { readonly reason: string; readonly policies: readonly string[] } | undefined
  keyVersion?: number | undefined
  /** Epoch of the switches under which the gate admitted the request; set if there is an audit log. */
  gateEpoch?: number | undefined
  /** Hex SHA-256 that links an Encrypt to its Decrypts; set if there is an audit log. */
  sealedSha256?: string | undefined
  status?: number | undefined
  /** The error name sent to KMS; xks/errors.ts has the table. */
  errorName?: string | undefined
  /** Latchkey's own error code, which is more specific than `errorName`. */
  reason?: string | undefined
  /**
   * Hex SHA-256 of the body, set after a failed signature verification to help find the request
   * again.
   */
  bodySha256?: string | undefined
  /**
   * Request id in the body of a request whose signature verification failed. The id is unverified.
   */
  unverifiedKmsRequestId?: string | undefined
  /** The thrown value, if Latchkey itself caused the failure. */
  fault?: unknown
  readonly stages: StageTimes
  /** Milliseconds from the first byte until the response was handed to the socket. */
  totalMs?: number | undefined
  /** TLS handshake duration in milliseconds; set only on a connection's first request. */
  readonly tlsMs?: number | undefined
}
