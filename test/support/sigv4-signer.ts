/** A test signer that signs anything, including requests that no client would send. */
// SPDX-License-Identifier: Apache-2.0
import { createHash, createHmac } from 'node:crypto'
import type { SignedRequest } from '../../src/sigv4/verify.ts'

export interface Signable {
  readonly method: string
  readonly target: string
  /** Headers as sent, without Authorization. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: Buffer
  /** Names for SignedHeaders (default: each header name once, in ascending order). */
  readonly signedNames?: readonly string[]
  readonly amzDate: string
  /** Scope date as yyyymmdd (default: the day of amzDate). */
  readonly scopeDate?: string
  readonly region: string
  readonly service: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest('hex')

const hmac = (key: Buffer | string, data: string) => createHmac('sha256', key).update(data).digest()

/** Computes the signature from the secret, using only node:crypto. */
export function signText(
  text: string,
  secretAccessKey: string,
  scope: readonly [date: string, region: string, service: string],
): string {
  const key = [...scope, 'aws4_request'].reduce<Buffer | string>(hmac, `AWS4${secretAccessKey}`)
  return hmac(key, text).toString('hex')
}

export function canonicalText(signable: Signable): string {
  const names = namesOf(signable)
  const lines = names.map((name) => {
    const values = signable.headers.filter(([other]) => other.toLowerCase() === name)
    return `${name}:${values.map(([, value]) => value.trim().split(/\s+/).join(' ')).join(',')}`
  })
  const { method, target, body } = signable
  return [method, target, '', ...lines, '', names.join(';'), sha256(body)].join('\n')
}

export function authorizationOf(signable: Signable, canonical = canonicalText(signable)): string {
  const { amzDate, region, service, accessKeyId, secretAccessKey } = signable
  const date = signable.scopeDate ?? amzDate.slice(0, 8)
  const scope = `${date}/${region}/${service}/aws4_request`
  const text = ['AWS4-HMAC-SHA256', amzDate, scope, sha256(canonical)].join('\n')
  const signature = signText(text, secretAccessKey, [date, region, service])
  const names = namesOf(signable).join(';')
  return `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`
}

/** Returns the request with Authorization as its last header. */
export function sign(signable: Signable, canonical?: string): SignedRequest {
  return {
    method: signable.method,
    target: signable.target,
    rawHeaders: [...signable.headers.flat(), 'Authorization', authorizationOf(signable, canonical)],
    body: signable.body,
  }
}

function namesOf({ headers, signedNames }: Signable): readonly string[] {
  return signedNames ?? [...new Set(headers.map(([name]) => name.toLowerCase()))].sort()
}
