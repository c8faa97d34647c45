/** x-amz-date, strictly. */
// SPDX-License-Identifier: Apache-2.0

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
