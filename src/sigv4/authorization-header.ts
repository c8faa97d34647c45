/** Parses an Authorization header as narrowly as KMS writes it. */
// SPDX-License-Identifier: Apache-2.0

export interface CredentialScope {
  /** yyyymmdd */
  readonly date: string
  readonly region: string
  readonly service: string
}

export interface Authorization {
  /** As sent. The lookup decides whether it can be an access key id. */
  readonly accessKeyId: string
  readonly scope: CredentialScope
  /** Lower case, in ascending order, without repetitions. */
  readonly signedHeaders: readonly string[]
  /** 64 lower-case hexadecimal digits. */
  readonly signature: string
}

/** Signers write `, ` or `,` between the three parts. Only KMS's order is accepted. */
const HEADER =
  /^AWS4-HMAC-SHA256 +Credential=([A-Za-z0-9]{1,128})\/(\d{8})\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})\/aws4_request, ?SignedHeaders=([a-z0-9:;_-]{1,1024}), ?Signature=([0-9a-f]{64})$/

/** Each name is searched among all headers. KMS signs five. */
const MAX_SIGNED_HEADERS = 32

/**
 * Returns undefined for everything else: other algorithms (AWS4-ECDSA, SigV2), other orders,
 * repeated or unsorted header names, upper-case digits.
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

/**
 * A year must not start with zero, because Date.parse and the calendar disagree about the first
 * centuries.
 */
const DATE_FORM = /^([1-9]\d{3})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/

/**
 * Returns milliseconds since the Unix epoch, or undefined unless the text is yyyymmddThhmmssZ and a
 * real time.
 */
export function parseAmzDate(text: string): number | undefined {
  const match = DATE_FORM.exec(text)
  if (match === null) return undefined
  const [, year = '', month = '', day = '', hour = '', minute = '', second = ''] = match
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
  const time = Date.parse(iso)
  // Date.parse turns 31 February into a day in March; converting back reveals it.
  return !Number.isNaN(time) && new Date(time).toISOString() === iso ? time : undefined
}
