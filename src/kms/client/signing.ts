/** Signs a request as KMS does, or with one thing about it wrong, to see whether a proxy notices. */
// SPDX-License-Identifier: Apache-2.0
import aws4 from 'aws4'
import type { Secret } from '../../core/secret.ts'

export interface SigningCredential {
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
  /** Of the credential scope: where KMS calls from. */
  readonly region: string
}

export interface SignInput {
  /** As the Host header will have it: `host`, or `host:port`. */
  readonly host: string
  /** The request target, such as `/demo/kms/xks/v1/health`. */
  readonly target: string
  readonly body: string
  readonly method?: string
  readonly service?: string
  /** Headers to send besides those below. They are signed, unless `leftUnsigned` names them. */
  readonly headers?: Readonly<Record<string, string>>
  /** Milliseconds since the Unix epoch; absent: now. */
  readonly at?: number
  /** Lower-case names. Absent: what KMS leaves unsigned, all but host and x-amz-date. */
  readonly leftUnsigned?: readonly string[]
}

/** XKS 1.0.3, Authentication: KMS signs `host;x-amz-date`. */
const UNSIGNED_BY_KMS = ['content-type', 'content-length'] as const

/** x-amz-date's form of a time in milliseconds since the Unix epoch. */
export function toAmzDate(at: number): string {
  return new Date(at).toISOString().replace(/[:-]|\.\d{3}/g, '')
}

/** All headers of the request, `Host`, `Content-Type`, `Content-Length` and `Authorization` among them. */
export function signHeaders(
  input: SignInput,
  credential: SigningCredential,
): Record<string, string> {
  const left = input.leftUnsigned ?? UNSIGNED_BY_KMS
  // A variable, since aws4's types do not know the last of its options.
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
