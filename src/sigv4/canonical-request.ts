/** The canonical request, and the string to sign made from its hash. Pure. */
// SPDX-License-Identifier: Apache-2.0
import type { CredentialScope } from './authorization-header.ts'
import { sha256Hex } from './signing-key.ts'

export const ALGORITHM = 'AWS4-HMAC-SHA256'

export interface CanonicalRequestInput {
  readonly method: string
  /** The path, byte for byte as received. */
  readonly canonicalUri: string
  /** Empty for every XKS request. */
  readonly canonicalQuery: string
  /** Name and canonical value of each signed header, ascending by name. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Hex SHA-256 of the body. */
  readonly bodyHash: string
}

/** XKS 1.0.3, Appendix A, Task 1. */
export function canonicalRequest(input: CanonicalRequestInput): string {
  let lines = ''
  let names = ''
  for (const [name, value] of input.headers) {
    lines += `${name}:${value}\n`
    names += names === '' ? name : `;${name}`
  }
  return `${input.method}\n${input.canonicalUri}\n${input.canonicalQuery}\n${lines}\n${names}\n${input.bodyHash}`
}

/**
 * XKS 1.0.3, Appendix A, Task 2.
 * @param amzDate yyyymmddThhmmssZ
 */
export function stringToSign(amzDate: string, scope: CredentialScope, canonical: string): string {
  const { date, region, service } = scope
  return `${ALGORITHM}\n${amzDate}\n${date}/${region}/${service}/aws4_request\n${sha256Hex(canonical)}`
}
