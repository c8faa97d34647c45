/**
 * Normalizes reasons and names that people type. They are adjusted rather than refused, because a
 * malformed reason must not prevent a kill.
 */
// SPDX-License-Identifier: Apache-2.0

const MAX_LENGTH = 500

/**
 * Characters that can control a terminal, or make one string look like another: C0 and C1 controls,
 * line separators, and format characters such as bidirectional overrides, isolates and zero-width
 * spaces.
 */
export const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/**
 * Returns the text as one printable line of at most 500 characters, all of which UTF-8 can encode.
 */
export function toRemark(text: string): string {
  // UTF-8 cannot encode a lone surrogate: it becomes U+FFFD.
  const whole = Buffer.from(text, 'utf8').toString('utf8')
  const line = whole
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(UNPRINTABLE, '')
    .trim()
  if (line.length <= MAX_LENGTH) return line
  return `${line.slice(0, MAX_LENGTH - 1).replace(/[\ud800-\udbff]$/, '')}…`
}

/**
 * Replaces non-ASCII characters with `\u{2713}` escapes, for a database in an encoding other than
 * UTF-8.
 */
export function toAscii(text: string): string {
  return text.replace(
    /[^\u0020-\u007e]/gu,
    (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`,
  )
}

/** Returns JSON in pure ASCII, which a database in any encoding can store. */
export function toAsciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\u0000-\u007e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
