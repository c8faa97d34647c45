/** A certificate's subject as OpenSSL writes it for nginx, HAProxy and Envoy: RFC 2253. */
// SPDX-License-Identifier: Apache-2.0

const TYPE = /(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)=/y
/** Escapes first; then what RFC 2253, 3 lets stand bare. `=` is written bare by OpenSSL, too. */
const VALUE = /(?:\\[0-9A-Fa-f]{2}|\\[,+"\\<>;=# ]|[^\\,+"<>;])*/y
const ESCAPE = /\\([0-9A-Fa-f]{2}|[,+"\\<>;=# ])/g
const COMMON_NAMES = new Set(['cn=', '2.5.4.3='])
const PRINTABLE = /^[\x20-\x7e]+$/
const SEPARATORS = [',', '+']

/**
 * Pure. The common name, if there is exactly one; with several, which of them counts is nobody's guess to
 * make. @param name at most a header's length of characters
 * @returns undefined for anything that is not a name in this form, throughout
 */
export function parseCommonName(name: string): string | undefined {
  if (!PRINTABLE.test(name)) return undefined
  const found: string[] = []
  for (let at = 0; ; at++) {
    const type = match(TYPE, name, at)
    if (type === undefined) return undefined
    const value = match(VALUE, name, at + type.length) ?? ''
    if (COMMON_NAMES.has(type.toLowerCase())) found.push(value)
    at += type.length + value.length
    if (at === name.length) break
    if (!SEPARATORS.includes(name.charAt(at))) return undefined
  }
  const [value] = found
  return found.length === 1 && value !== undefined ? unescape(value) : undefined
}

function match(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(text)?.[0]
}

/** Bytes that are not printable, and those of UTF-8, come as two hexadecimal digits each. */
function unescape(value: string): string | undefined {
  const bytes = value.replace(ESCAPE, (_, escaped: string) =>
    escaped.length === 2 ? String.fromCharCode(Number.parseInt(escaped, 16)) : escaped,
  )
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
      Buffer.from(bytes, 'latin1'),
    )
  } catch {
    return undefined
  }
}
