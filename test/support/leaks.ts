/** Searches output for secrets in every form in which bytes can be printed. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Length of the part to search for: a multiple of three, so that Base64 has complete groups. Half a secret also counts
 * as a leak.
 */
const PART_BYTES = 15

export interface Planted {
  readonly name: string
  readonly bytes: Buffer
}

export function planted(name: string, value: Buffer | string): Planted {
  const bytes = Buffer.from(value)
  if (bytes.length < PART_BYTES) throw new TypeError(`${name} is too short to be told from chance`)
  return { name, bytes }
}

/** Returns every text that would reveal the beginning or the end of `bytes`. */
export function formsOf(bytes: Buffer): readonly string[] {
  const parts = [bytes.subarray(0, PART_BYTES), bytes.subarray(-PART_BYTES)]
  return parts.flatMap((part) => {
    const raw = part.toString('latin1')
    const decimal = [...part].join(',')
    const hex = part.toString('hex')
    // The Base64 encoding of a byte sequence depends on its offset modulo 3, so there are three
    // variants to search for.
    const base64 = [0, 1, 2].map((offset) =>
      part.subarray(offset, offset + PART_BYTES - 3).toString('base64'),
    )
    const base64url = base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_'))
    const escaped = JSON.stringify(raw).slice(1, -1)
    const utf8 = JSON.stringify(part.toString('utf8')).slice(1, -1)
    return [raw, escaped, utf8, decimal, hex, hex.toUpperCase(), ...base64, ...base64url]
  })
}

/** Returns the names of the secrets revealed by `text`. */
export function findLeaks(text: string, secrets: readonly Planted[]): readonly string[] {
  // Non-ASCII text may be written as UTF-8, as Latin-1, or unchanged.
  const readings = [text, Buffer.from(text, 'utf8').toString('latin1')]
  return secrets
    .filter(({ bytes }) =>
      formsOf(bytes).some((form) => readings.some((reading) => reading.includes(form))),
    )
    .map(({ name }) => name)
}
