/** Signs a request as KMS does, or with one deliberate error to test whether a proxy rejects it. */
// SPDX-License-Identifier: Apache-2.0
import aws4 from 'aws4'
import type { Secret } from '../../core/secret.ts'

export interface SigningCredential {
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
  /** Region of the credential scope, which is the region that KMS calls from. */
  readonly region: string
}

export interface SignInput {
  /** The value of the Host header: `host` or `host:port`. */
  readonly host: string
  /** The request target, such as `/demo/kms/xks/v1/health`. */
  readonly target: string
  readonly body: string
  readonly method?: string
  readonly service?: string
  /** Additional headers. They are signed unless `leftUnsigned` names them. */
  readonly headers?: Readonly<Record<string, string>>
  /** Signing time in milliseconds since the Unix epoch (default: now). */
  readonly at?: number
  /** Lower-case names of headers to leave unsigned (default: all but host and x-amz-date, as KMS does). */
  readonly leftUnsigned?: readonly string[]
}

/** Headers that KMS does not sign. It signs `host;x-amz-date` (XKS 1.0.3, Authentication). */
const UNSIGNED_BY_KMS = ['content-type', 'content-length'] as const

/** Formats a time in milliseconds since the Unix epoch for x-amz-date. */
export function toAmzDate(at: number): string {
  return new Date(at).toISOString().replace(/[:-]|\.\d{3}/g, '')
}

/** Returns all headers of the request, including `Host`, `Content-Type`, `Content-Length` and `Authorization`. */
export function signHeaders(
  input: SignInput,
  credential: SigningCredential,
): Record<string, string> {
  const left = input.leftUnsigned ?? UNSIGNED_BY_KMS
  // The request is assigned to a variable first, because aws4's types lack the last option below.
  const request = {
    host: input.host,
    path: input.target,
    method: input.method ?? 'POST',
    service: input.service ?? 'kms-xks-proxy',
    region: credential.region,
    headers: {
      'Content-Type': 'application/json',
      ...(input.at === undefined ? {} : { 'X-Amz-Date': toAmzDate(input.at) }),
      ...input.headers,
    },
    body: input.body,
    doNotEncodePath: true,
    extraHeadersToIgnore: Object.fromEntries(left.map((name) => [name, true])),
  }
  const { headers } = aws4.sign(request, {
    accessKeyId: credential.accessKeyId,
    secretAccessKey: credential.secretAccessKey.reveal(),
  })
  return headers as Record<string, string>
}
