/** The parts of an Authorization header, parsed as narrowly as KMS writes them. */
// SPDX-License-Identifier: Apache-2.0

export interface CredentialScope {
  /** yyyymmdd */
  readonly date: string
  readonly region: string
  readonly service: string
}

export interface Authorization {
  /** As sent: whether it is a possible access key id is for the lookup to find out. */
  readonly accessKeyId: string
  readonly scope: CredentialScope
  /** Lower case, ascending, each once: as the signer must have had them. */
  readonly signedHeaders: readonly string[]
  /** 64 lower-case hexadecimal digits. */
  readonly signature: string
}

/** Signers write `, ` or `,` between the three parts; KMS's order is the only one there is. */
const HEADER =
  /^AWS4-HMAC-SHA256 +Credential=([A-Za-z0-9]{1,128})\/(\d{8})\/([a-z0-9-]{1,64})\/([a-z0-9-]{1,64})\/aws4_request, ?SignedHeaders=([a-z0-9:;_-]{1,1024}), ?Signature=([0-9a-f]{64})$/

/** Each of them is looked up among all headers. KMS signs five. */
const MAX_SIGNED_HEADERS = 32

/**
 * Undefined for everything else: other algorithms (AWS4-ECDSA, SigV2), other orders, repeated or
 * unsorted header names, upper-case digits.
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

/** The first digit of a year is no zero: Date.parse and the calendar differ about the first centuries. */
const DATE_FORM = /^([1-9]\d{3})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/

/** Milliseconds since the Unix epoch, or undefined unless it is yyyymmddThhmmssZ and a real time. */
export function parseAmzDate(text: string): number | undefined {
  const match = DATE_FORM.exec(text)
  if (match === null) return undefined
  const [, year = '', month = '', day = '', hour = '', minute = '', second = ''] = match
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
  const time = Date.parse(iso)
  // Date.parse carries a 31st of February over into March; the way back shows it.
  return !Number.isNaN(time) && new Date(time).toISOString() === iso ? time : undefined
}
