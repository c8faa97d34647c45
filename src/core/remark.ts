/** Reasons and names that people type: made to fit, since no remark may be why a kill is not written. */
// SPDX-License-Identifier: Apache-2.0

const MAX_LENGTH = 500

/** One line of at most 500 characters that has a form in UTF-8. */
export function toRemark(text: string): string {
  // A lone surrogate has none: it becomes U+FFFD.
  const whole = Buffer.from(text, 'utf8').toString('utf8')
  const line = whole.replace(/[\u0000-\u001f\u007f]+/g, ' ').trim()
  if (line.length <= MAX_LENGTH) return line
  return `${line.slice(0, MAX_LENGTH - 1).replace(/[\ud800-\udbff]$/, '')}…`
}

/** For a database in another encoding than UTF-8: `\u{2713}` in the place of what is not ASCII. */
export function toAscii(text: string): string {
  return text.replace(
    /[^\u0020-\u007e]/gu,
    (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`,
  )
}

/** JSON of ASCII alone, which every encoding of a database can keep. */
export function toAsciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[^\u0000-\u007e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
