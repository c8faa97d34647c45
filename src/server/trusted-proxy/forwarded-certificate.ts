/**
 * Checks client certificates when mTLS is terminated in front of Latchkey: a named terminator
 * reports its client's certificate in a header.
 */
// SPDX-License-Identifier: Apache-2.0
import type { ForwardedByConfig } from '../../config/config.ts'
import { XksError } from '../../xks/errors.ts'

/**
 * Values of nginx's $ssl_client_verify and HAProxy's ssl_c_verify for a certificate that is valid
 * in every respect.
 */
const VERIFIED: readonly string[] = ['SUCCESS', '0']

/** Reason for refusing a request, for the log. */
type ForwardedErrorCode =
  | 'FORWARDED_BY_STRANGER' // the header is present, but the connection is not from a named terminator
  | 'FORWARDED_MISSING' // a named terminator sent a request without the header
  | 'FORWARDED_UNREADABLE' // the header is present twice, or is malformed
  | 'FORWARDED_UNVERIFIED' // the terminator does not confirm that it verified the certificate
  | 'FORWARDED_SUBJECT' // the certificate's common name is not permitted to call the proxy

/** The result of reading the header in which a terminator reports its client's certificate. */
export interface Forwarded {
  /** Absent if the request may proceed to the signature check. */
  readonly fault?: XksError
  /** The common name, accepted or not, if the terminator named exactly one. */
  readonly commonName?: string
}

type CheckForwarded = (rawHeaders: readonly string[], isFromTerminator: boolean) => Forwarded

/**
 * Applies the same rule as to a client certificate in our own handshake (XKS 1.0.3,
 * Authentication): one common name, which must match exactly. A client that is not a terminator was
 * checked in its handshake, so a header from it is forged.
 * @param subjects common names that are permitted to call the proxy
 */
export function createCheckForwarded(
  config: ForwardedByConfig,
  subjects: readonly string[],
): CheckForwarded {
  return (rawHeaders, isFromTerminator) => {
    const found = readForwarded(config, rawHeaders, isFromTerminator)
    const commonName = typeof found === 'object' ? found.commonName : undefined
    const isAccepted = commonName === undefined || subjects.includes(commonName)
    const reason = typeof found === 'string' ? found : isAccepted ? undefined : 'FORWARDED_SUBJECT'
    return {
      ...(commonName === undefined ? {} : { commonName }),
      ...(reason === undefined ? {} : { fault: toFault(reason) }),
    }
  }
}

function toFault(reason: ForwardedErrorCode): XksError {
  return new XksError(
    'AuthenticationFailedException',
    'The request was not made with an accepted client certificate.',
    { reason },
  )
}

/** Returns undefined for a client that is not a terminator and does not claim to be one. */
function readForwarded(
  { header, format, verifyHeader }: ForwardedByConfig,
  rawHeaders: readonly string[],
  isFromTerminator: boolean,
): ForwardedErrorCode | { readonly commonName: string } | undefined {
  const values = valuesOf(rawHeaders, header)
  const [value] = values
  if (!isFromTerminator) return value === undefined ? undefined : 'FORWARDED_BY_STRANGER'
  if (value === undefined) return 'FORWARDED_MISSING'
  if (values.length > 1) return 'FORWARDED_UNREADABLE'
  if (verifyHeader !== undefined) {
    const [verdict = '', ...others] = valuesOf(rawHeaders, verifyHeader)
    if (others.length > 0 || !VERIFIED.includes(verdict)) return 'FORWARDED_UNVERIFIED'
  }
  const subject = format === 'xfcc' ? parseXfccSubject(value) : value
  const commonName = subject === undefined ? undefined : parseCommonName(subject)
  return commonName === undefined ? 'FORWARDED_UNREADABLE' : { commonName }
}

/** @param name in lower case */
function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  const values: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() === name) values.push(rawHeaders[i + 1] ?? '')
  }
  return values
}

const TYPE = /(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)=/y
/**
 * Matches escapes first, then the characters that RFC 2253, 3 allows unescaped, and `=`, which
 * OpenSSL does not escape.
 */
const VALUE = /(?:\\[0-9A-Fa-f]{2}|\\[,+"\\<>;=# ]|[^\\,+"<>;])*/y
const ESCAPE = /\\([0-9A-Fa-f]{2}|[,+"\\<>;=# ])/g
const COMMON_NAMES = new Set(['cn=', '2.5.4.3='])
const PRINTABLE = /^[\x20-\x7e]+$/
const SEPARATORS = [',', '+']

/**
 * Returns the common name if there is exactly one; we do not guess which of several applies. Has no
 * side effects.
 * @param name at most as long as a header
 * @returns undefined for anything that is not entirely a name in this format
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

/**
 * Non-printable bytes, including those of UTF-8 sequences, are written as two hexadecimal digits
 * each.
 */
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

/**
 * The values of By, Hash, Cert and Chain are percent-encoded, hexadecimal or written by Envoy
 * itself, and Subject is quoted. URI and DNS are alternative names of the client's certificate, and
 * Envoy writes them unquoted: a client with a comma in such a name could add elements. So a header
 * with URI or DNS is refused.
 */
const KEYS = new Set(['by', 'hash', 'cert', 'chain', 'subject'])

/**
 * One pair and the character that ends it. Inside quotes, a backslash belongs to the character that
 * follows it.
 */
const PAIR = /([A-Za-z]{1,16})=(?:"((?:[^"\\]|\\.)*)"|([^",;=\\]*))([,;]|$)/y

/**
 * Returns the Subject of the last element in RFC 2253 format, exactly as it stands between the
 * quotes: Envoy copies it there with the escapes of that format. Every hop appends an element, so
 * the last one comes from the hop that connected to us, and the earlier ones cannot be trusted. But
 * the whole header must be well-formed: with an unclosed quote in an earlier element, the last
 * element would not be the one that was appended last. Has no side effects.
 * @returns undefined unless every element is well-formed and the last one has exactly one quoted
 * Subject
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
