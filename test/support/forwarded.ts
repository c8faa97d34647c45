/** Formats subjects and x-forwarded-client-cert values as OpenSSL and Envoy do. */
// SPDX-License-Identifier: Apache-2.0

/** Formats a name as in RFC 2253, using OpenSSL's escapes for unprintable characters. */
export function writeName(pairs: readonly (readonly [string, string])[]): string {
  return pairs.map(([type, value]) => `${type}=${escape(value)}`).join(',')
}

function escape(value: string): string {
  const bytes = [...Buffer.from(value)]
  return bytes
    .map((byte, i) => {
      const isEnd = i === 0 || i === bytes.length - 1
      const character = String.fromCharCode(byte)
      if (byte < 0x20 || byte > 0x7e) return `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`
      if (',+"\\<>;'.includes(character)) return `\\${character}`
      return (character === '#' && i === 0) || (character === ' ' && isEnd)
        ? `\\${character}`
        : character
    })
    .join('')
}

/** Formats the header element of one hop. Envoy copies the subject between the quotes without escaping it. */
export function writeElement(subject: string, more: Readonly<Record<string, string>> = {}): string {
  const rest = Object.entries(more).map(([key, value]) => `${key}=${value};`)
  return `${rest.join('')}Hash=${'0a'.repeat(32)};Subject="${subject}"`
}
