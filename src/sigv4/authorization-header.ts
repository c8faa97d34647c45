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
  if (!isAscending(signedHeaders)) return undefined
  return { accessKeyId, scope: { date, region, service }, signedHeaders, signature }
}

function isAscending(names: readonly string[]): boolean {
  return names.every((name, i) => name !== '' && (i === 0 || (names[i - 1] ?? '') < name))
}

/** Everything before the signature is the same for a caller all day long. */
const MAX_REMEMBERED = 64
const SIGNATURE_DIGITS = 64
const SIGNATURE_FORM = /^[0-9a-f]{64}$/

/** parseAuthorization, which remembers what it made of everything before the signature. */
export class AuthorizationParser {
  readonly #remembered = new Map<string, Authorization>()
  /** Of the last request: comparing costs a sixth of what looking it up does. */
  #lastHead: string | undefined
  #last: Authorization | undefined

  parse(text: string): Authorization | undefined {
    const split = text.length - SIGNATURE_DIGITS
    const known = this.#find(text, split)
    if (known !== undefined) {
      const signature = text.slice(split)
      if (!SIGNATURE_FORM.test(signature)) return undefined
      const { accessKeyId, scope, signedHeaders } = known
      return { accessKeyId, scope, signedHeaders, signature }
    }
    const parsed = parseAuthorization(text)
    if (parsed !== undefined) {
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear()
      this.#remembered.set(text.slice(0, split), parsed)
    }
    return parsed
  }

  #find(text: string, split: number): Authorization | undefined {
    const head = text.slice(0, split)
    if (head === this.#lastHead) return this.#last
    const known = this.#remembered.get(head)
    if (known !== undefined) {
      this.#lastHead = head
      this.#last = known
    }
    return known
  }
}

const FORM = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/

/** Milliseconds since the Unix epoch, or undefined unless it is yyyymmddThhmmssZ and a real time. */
export function parseAmzDate(text: string): number | undefined {
  const match = FORM.exec(text)
  if (match === null) return undefined
  const [, year, month, day, hour, minute, second] = match.map(Number)
  const time = Date.UTC(year ?? 0, (month ?? 0) - 1, day, hour, minute, second)
  // Date.UTC carries a 31st of February over into March; the way back shows it.
  const written = new Date(time).toISOString().replaceAll(/[-:]|\.000/g, '')
  return written === text ? time : undefined
}

/** Remembers the last date: all requests of one second have the same. */
export class AmzDateParser {
  #text: string | undefined
  #time: number | undefined

  parse(text: string): number | undefined {
    if (text !== this.#text) {
      this.#time = parseAmzDate(text)
      this.#text = text
    }
    return this.#time
  }
}
