/** The headers of a request as received, including repeated headers. */
// SPDX-License-Identifier: Apache-2.0
import type { CredentialScope } from './authorization-header.ts'
import { sha256Hex } from './signing-key.ts'

/**
 * Node's `headers` object hides duplicates: it silently keeps the first Authorization or Host
 * header, and joins other headers. Therefore, use only `rawHeaders`.
 */
export class WireHeaders {
  /**
   * Names in the order received. A request has about ten headers, so a linear search beats a map.
   */
  readonly #names: string[] = []
  readonly #values: string[] = []

  /** @param rawHeaders alternating names and values, as received */
  constructor(rawHeaders: readonly string[]) {
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      this.#names.push((rawHeaders[i] ?? '').toLowerCase())
      this.#values.push(rawHeaders[i + 1] ?? '')
    }
  }

  count(name: string): number {
    let count = 0
    for (const one of this.#names) if (one === name) count += 1
    return count
  }

  /** Returns the value of a header that appears exactly once. */
  single(name: string): string | undefined {
    const first = this.#names.indexOf(name)
    if (first < 0 || this.#names.includes(name, first + 1)) return undefined
    return this.#values[first]
  }

  /**
   * Returns the canonical value: each occurrence trimmed, runs of spaces collapsed into one,
   * occurrences joined by commas in the order received (AWS, "Create a canonical request").
   */
  canonical(name: string): string | undefined {
    let joined: string | undefined
    for (let i = this.#names.indexOf(name); i >= 0; i = this.#names.indexOf(name, i + 1)) {
      const value = fold(this.#values[i] ?? '')
      joined = joined === undefined ? value : `${joined},${value}`
    }
    return joined
  }
}

/**
 * White space is SP, HTAB and a folded line (RFC 9110, 5.6.3, and RFC 9112, 5.2). Any other
 * character is part of the value.
 */
function fold(value: string): string {
  const folded = /[ \t]{2}|[\t\n]/.test(value)
    ? value.replaceAll(/(?:\r?\n(?=[ \t])|[ \t])+/g, ' ')
    : value
  return folded.slice(folded.startsWith(' ') ? 1 : 0, folded.endsWith(' ') ? -1 : undefined)
}

const ALGORITHM = 'AWS4-HMAC-SHA256'

interface CanonicalRequestInput {
  readonly method: string
  /** The path, byte for byte as received. */
  readonly canonicalUri: string
  /** Query string, which is empty for every XKS request. */
  readonly canonicalQuery: string
  /** Name and canonical value of each signed header, in ascending order of names. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Hex SHA-256 of the body. */
  readonly bodyHash: string
}

/** Returns the canonical request (XKS 1.0.3, Appendix A, Task 1). */
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
 * Returns the string to sign (XKS 1.0.3, Appendix A, Task 2).
 * @param amzDate yyyymmddThhmmssZ
 */
export function stringToSign(amzDate: string, scope: CredentialScope, canonical: string): string {
  const { date, region, service } = scope
  return `${ALGORITHM}\n${amzDate}\n${date}/${region}/${service}/aws4_request\n${sha256Hex(canonical)}`
}
