/** The headers of a request as they came off the wire, looked up without losing repetitions. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Node's `headers` object hides what matters here: of two Authorization or Host headers it keeps the
 * first without a word, and joins others. So everything is read from `rawHeaders`.
 */
export class WireHeaders {
  /** In the order received. A request has some ten headers: looking through them beats a table of them. */
  readonly #names: string[] = []
  readonly #values: string[] = []

  /** @param rawHeaders name, value, name, value, as received */
  constructor(rawHeaders: readonly string[]) {
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      this.#names.push((rawHeaders[i] ?? '').toLowerCase())
      this.#values.push(rawHeaders[i + 1] ?? '')
    }
  }

  count(name: string): number {
    let count = 0
    for (const one of this.#names) if (one === name) count += 1
    return count
  }

  /** The one value of a header that came exactly once. */
  single(name: string): string | undefined {
    const first = this.#names.indexOf(name)
    if (first < 0 || this.#names.includes(name, first + 1)) return undefined
    return this.#values[first]
  }

  /**
   * The canonical value: each occurrence trimmed, runs of spaces folded into one, occurrences joined
   * by commas in the order received (AWS, "Create a canonical request").
   */
  canonical(name: string): string | undefined {
    let joined: string | undefined
    for (let i = this.#names.indexOf(name); i >= 0; i = this.#names.indexOf(name, i + 1)) {
      const value = fold(this.#values[i] ?? '')
      joined = joined === undefined ? value : `${joined},${value}`
    }
    return joined
  }
}

/** RFC 9110, 5.6.3, and RFC 9112, 5.2: white space is SP, HTAB and a folded line. Anything else is part of the value. */
function fold(value: string): string {
  const folded = /[ \t]{2}|[\t\n]/.test(value)
    ? value.replaceAll(/(?:\r?\n(?=[ \t])|[ \t])+/g, ' ')
    : value
  return folded.slice(folded.startsWith(' ') ? 1 : 0, folded.endsWith(' ') ? -1 : undefined)
}
