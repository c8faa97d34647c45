/**
 * The properties shared by requests that are counted together: caller, operation, key, path and
 * outcome.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import type { RequestMetadata, RequestRecord } from '../core/request.ts'

/** The fields of a request record that are used for counting. */
export type CountedRequest = Pick<
  RequestRecord,
  'at' | 'keyStore' | 'operation' | 'keyId' | 'accessKeyId' | 'errorName' | 'reason' | 'isProbe'
> & {
  readonly metadata?: Omit<RequestMetadata, 'kmsRequestId'> | undefined
}

export interface UsageKey {
  readonly keyStore: string
  readonly operation: string
  /**
   * Undefined for GetHealthStatus. The optional fields below are undefined if KMS sent no value.
   */
  readonly keyId?: string
  readonly kmsOperation?: string
  readonly principal?: string
  readonly kmsKeyArn?: string
  readonly viaService?: string
  readonly vpc?: string
  readonly vpce?: string
  /** `ok`, or the reason for the refusal. */
  readonly outcome: string
  /**
   * Set if there were too many different subjects: only key store, operation and outcome were kept.
   */
  readonly isOverflow: boolean
  /** Set for requests from Latchkey's own tools (core/probe.ts). */
  readonly isProbe?: true
}

export const SUCCESS = 'ok'
/** XKS 1.0.3: ARNs have up to 2,048 characters. */
const MAX_TEXT = 2048
const SEPARATOR = '\u0000'

/**
 * Returns equal keys for requests that are counted together. This function runs for every request,
 * so it allocates no array and no object.
 */
export function toKey(
  { keyStore, operation, keyId, reason, errorName, isProbe }: CountedRequest,
  metadata: NonNullable<CountedRequest['metadata']>,
): string {
  return (
    `${String(keyStore)}${SEPARATOR}${String(operation)}${SEPARATOR}${keyId ?? ''}${SEPARATOR}` +
    `${reason ?? errorName ?? SUCCESS}${SEPARATOR}${metadata.kmsOperation}${SEPARATOR}` +
    `${metadata.awsPrincipalArn ?? ''}${SEPARATOR}${metadata.kmsKeyArn ?? ''}${SEPARATOR}` +
    `${metadata.kmsViaService ?? ''}${SEPARATOR}${metadata.awsSourceVpc ?? ''}${SEPARATOR}` +
    (metadata.awsSourceVpce ?? '') +
    (isProbe === true ? `${SEPARATOR}probe` : '')
  )
}

export function toUsageKey(
  request: CountedRequest,
  metadata: NonNullable<CountedRequest['metadata']>,
): UsageKey {
  const { keyStore = '', operation = '', keyId, reason, errorName } = request
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
    ...(request.isProbe === true ? { isProbe: true } : {}),
  }
}

/**
 * Returns a request's subject reduced to key store, operation and outcome, for use when there is no
 * room for another full subject.
 */
export function toOverflow(request: CountedRequest) {
  const { keyStore = '', operation = '', reason, errorName } = request
  const outcome = reason ?? errorName ?? SUCCESS
  const probe = request.isProbe === true ? { isProbe: true as const } : {}
  return { keyStore, operation, outcome, isOverflow: true, ...probe } satisfies UsageKey
}

/**
 * Truncates a value and replaces control characters, because databases refuse NUL and terminals
 * interpret control characters.
 */
function text(name: keyof UsageKey, value: string | undefined): Partial<UsageKey> {
  if (value === undefined) return {}
  return { [name]: value.slice(0, MAX_TEXT).replace(/\p{Cc}/gu, '?') }
}

/**
 * Returns the first 22 characters of the subject's SHA-256 in Base64url. They are the same in every
 * process.
 */
export function toUsageKeyId(subject: UsageKey): string {
  const { keyStore, operation, keyId, kmsOperation, principal, kmsKeyArn } = subject
  const { viaService, vpc, vpce, outcome, isOverflow, isProbe } = subject
  const fields = [keyStore, operation, keyId, kmsOperation, principal, kmsKeyArn]
  const mark = isProbe === true ? ['probe'] : []
  const bytes = JSON.stringify([...fields, viaService, vpc, vpce, outcome, isOverflow, ...mark])
  return createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
}
