/** What requests have in common that are counted together: who asked for what, by which way, and how it ended. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'

/** The part of a request's record that is counted; every record of xks/request-record.ts is one. */
export interface FinishedRequest {
  /** Wall time, milliseconds since the Unix epoch. */
  readonly at: number
  readonly keyStore?: string
  readonly operation?: string
  readonly keyId?: string
  /** There once the signature was right. */
  readonly accessKeyId?: string
  /** There once the body was read, which is after the signature was right. */
  readonly metadata?: {
    readonly awsPrincipalArn?: string
    readonly awsSourceVpc?: string
    readonly awsSourceVpce?: string
    readonly kmsKeyArn?: string
    readonly kmsOperation: string
    readonly kmsViaService?: string
  }
  readonly errorName?: string
  /** Our own code for what went wrong, more precise than `errorName`. */
  readonly reason?: string
}

export interface UsageKey {
  readonly keyStore: string
  readonly operation: string
  /** Undefined for GetHealthStatus, as are the others where KMS said nothing. */
  readonly keyId?: string
  readonly kmsOperation?: string
  readonly principal?: string
  readonly kmsKeyArn?: string
  readonly viaService?: string
  readonly vpc?: string
  readonly vpce?: string
  /** `ok`, or why it was refused. */
  readonly outcome: string
  /** Too many different ones at a time: of these, only key store, operation and outcome were kept. */
  readonly isOverflow: boolean
}

export const SUCCESS = 'ok'
/** XKS 1.0.3: ARNs have up to 2,048 characters. */
const MAX_TEXT = 2048
const SEPARATOR = '\u0000'

/** Whether two requests have the same key, without making it. */
export function areCountedTogether(a: FinishedRequest, b: FinishedRequest): boolean {
  const [one, other] = [a.metadata, b.metadata]
  return (
    one !== undefined &&
    other !== undefined &&
    a.operation === b.operation &&
    a.keyId === b.keyId &&
    one.awsPrincipalArn === other.awsPrincipalArn &&
    one.kmsKeyArn === other.kmsKeyArn &&
    one.kmsOperation === other.kmsOperation &&
    one.kmsViaService === other.kmsViaService &&
    one.awsSourceVpc === other.awsSourceVpc &&
    one.awsSourceVpce === other.awsSourceVpce &&
    a.keyStore === b.keyStore &&
    a.reason === b.reason &&
    a.errorName === b.errorName
  )
}

/** Equal for requests that are counted together. On the path of every request: no array, no object. */
export function toKey(
  { keyStore, operation, keyId, reason, errorName }: FinishedRequest,
  metadata: NonNullable<FinishedRequest['metadata']>,
): string {
  return (
    `${String(keyStore)}${SEPARATOR}${String(operation)}${SEPARATOR}${keyId ?? ''}${SEPARATOR}` +
    `${reason ?? errorName ?? SUCCESS}${SEPARATOR}${metadata.kmsOperation}${SEPARATOR}` +
    `${metadata.awsPrincipalArn ?? ''}${SEPARATOR}${metadata.kmsKeyArn ?? ''}${SEPARATOR}` +
    `${metadata.kmsViaService ?? ''}${SEPARATOR}${metadata.awsSourceVpc ?? ''}${SEPARATOR}` +
    (metadata.awsSourceVpce ?? '')
  )
}

export function toUsageKey(
  { keyStore = '', operation = '', keyId, reason, errorName }: FinishedRequest,
  metadata: NonNullable<FinishedRequest['metadata']>,
): UsageKey {
  const outcome = reason ?? errorName ?? SUCCESS
  return {
    ...{ keyStore, operation, outcome, isOverflow: false },
    ...(keyId === undefined ? {} : { keyId }),
    ...text('kmsOperation', metadata.kmsOperation),
    ...text('principal', metadata.awsPrincipalArn),
    ...text('kmsKeyArn', metadata.kmsKeyArn),
    ...text('viaService', metadata.kmsViaService),
    ...text('vpc', metadata.awsSourceVpc),
    ...text('vpce', metadata.awsSourceVpce),
  }
}

/** What is left of a request when there is no room for one more subject. */
export function toOverflow({ keyStore = '', operation = '', reason, errorName }: FinishedRequest) {
  const outcome = reason ?? errorName ?? SUCCESS
  return { keyStore, operation, outcome, isOverflow: true } satisfies UsageKey
}

/** Databases refuse NUL, and terminals obey control characters. */
function text(name: keyof UsageKey, value: string | undefined): Partial<UsageKey> {
  if (value === undefined) return {}
  return { [name]: value.slice(0, MAX_TEXT).replace(/\p{Cc}/gu, '?') }
}

/** Half a SHA-256 in Base64url, 22 characters: the same in every process. */
export function toUsageKeyId(subject: UsageKey): string {
  const { keyStore, operation, keyId, kmsOperation, principal, kmsKeyArn } = subject
  const { viaService, vpc, vpce, outcome, isOverflow } = subject
  const fields = [keyStore, operation, keyId, kmsOperation, principal, kmsKeyArn]
  const bytes = JSON.stringify([...fields, viaService, vpc, vpce, outcome, isOverflow])
  return createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
}
