/** Parses an Authorization header, accepting only the format that KMS writes. */
// SPDX-License-Identifier: Apache-2.0

export interface CredentialScope {
  /** yyyymmdd */
  readonly date: string
  readonly region: string
  readonly service: string
}

export interface Authorization {
  /** Access key id as sent, which may be unknown. */
  readonly accessKeyId: string
  readonly scope: CredentialScope
  /** Header names in lower case and ascending order, without duplicates. */
  readonly signedHeaders: readonly string[]
  /** 64 lower-case hexadecimal digits. */
  readonly signature: string
}

/** Signers write `, ` or `,` between the three parts. Only KMS's order is accepted. */
const HEADER =
  /^AWS4-HMAC-SHA256 +Credential=([A-Za-z0-9]{1,128})\/(\d{8})\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})\/aws4_request, ?SignedHeaders=([a-z0-9:;_-]{1,1024}), ?Signature=([0-9a-f]{64})$/

/**
 * Maximum number of signed headers. Each name requires a search through all headers, so the number
 * is limited. KMS signs five.
 */
const MAX_SIGNED_HEADERS = 32

/**
 * Returns undefined for any header that KMS would not write: for example, one with another
 * algorithm (AWS4-ECDSA, SigV2), a different order, duplicate or unsorted header names, or
 * upper-case digits.
 */
export function parseAuthorization(text: string): Authorization | undefined {
  const match = HEADER.exec(text)
  if (match === null) return undefined
  const [, accessKeyId = '', date = '', region = '', service = '', names = '', signature = ''] =
    match
  const signedHeaders = names.split(';')
  if (signedHeaders.length > MAX_SIGNED_HEADERS || !isAscending(signedHeaders)) return undefined
  return { accessKeyId, scope: { date, region, service }, signedHeaders, signature }
}

function isAscending(names: readonly string[]): boolean {
  return names.every((name, i) => name !== '' && (i === 0 || (names[i - 1] ?? '') < name))
}

/** A year must not start with zero, because Date.UTC maps the years 0 to 99 to 1900 to 1999. */
const DATE_FORM = /^[1-9]\d{7}T\d{6}Z$/

/**
 * Returns milliseconds since the Unix epoch; undefined if the text is not a real time in the form
 * yyyymmddThhmmssZ.
 */
export function parseAmzDate(text: string): number | undefined {
  if (!DATE_FORM.test(text)) return undefined
  const at = (start: number, end: number) => Number(text.slice(start, end))
  const month = at(4, 6)
  const day = at(6, 8)
  const hour = at(9, 11)
  const minute = at(11, 13)
  const second = at(13, 15)
  if (month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59) return undefined
  const time = Date.UTC(at(0, 4), month - 1, day, hour, minute, second)
  // Date.UTC turns 31 February into a day in March.
  return new Date(time).getUTCDate() === day ? time : undefined
}
