/** x-forwarded-client-cert: what Envoy, having ended TLS, says of its client's certificate. */
// SPDX-License-Identifier: Apache-2.0

/**
 * By, Hash, Cert and Chain are percent-encoded, hexadecimal or Envoy's own; Subject is quoted. URI and DNS
 * are alternative names of the client's certificate, and Envoy writes them bare: whoever got a certificate
 * with a comma in such a name could add elements. So a header with one of them is not read at all.
 */
const KEYS = new Set(['by', 'hash', 'cert', 'chain', 'subject'])

/** One pair, and what ends it. In quotes, a backslash belongs to the character behind it. */
const PAIR = /([A-Za-z]{1,16})=(?:"((?:[^"\\]|\\.)*)"|([^",;=\\]*))([,;]|$)/y
const PRINTABLE = /^[\x20-\x7e]+$/

/**
 * Pure. The Subject of the last element, in the form of RFC 2253, as it stands between the quotes: Envoy
 * copies it there with the escapes that this form has of its own.
 *
 * Every hop appends an element, so the last one is the word of the hop that connected to us, and those before
 * it are hearsay. But the whole header has to be well-formed: with a quote that somebody left open in front,
 * the last element would be another one than was written last.
 * @returns undefined unless every element is well-formed and the last one has exactly one, quoted, Subject
 */
export function parseXfccSubject(header: string): string | undefined {
  if (!PRINTABLE.test(header)) return undefined
  let subjects: string[] = []
  PAIR.lastIndex = 0
  for (;;) {
    const pair = PAIR.exec(header)
    if (pair === null) return undefined
    const [, key = '', quoted, bare, end] = pair
    const name = key.toLowerCase()
    if (!KEYS.has(name)) return undefined
    if (name === 'subject') {
      if (bare !== undefined || quoted === undefined) return undefined
      subjects.push(quoted)
    }
    if (end === '') return subjects.length === 1 ? subjects[0] : undefined
    if (end === ',') {
      if (subjects.length > 1) return undefined
      subjects = []
    }
  }
}
