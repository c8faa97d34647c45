/** The headers of a request as they came off the wire, looked up without losing repetitions. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Node's `headers` object hides what matters here: of two Authorization or Host headers it keeps the
 * first without a word, and joins others. So everything is read from `rawHeaders`.
 */
export class WireHeaders {
  readonly #values = new Map<string, string | string[]>()

  /** @param rawHeaders name, value, name, value, as received */
  constructor(rawHeaders: readonly string[]) {
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      const name = (rawHeaders[i] ?? '').toLowerCase()
      const value = rawHeaders[i + 1] ?? ''
      const before = this.#values.get(name)
      if (before === undefined) this.#values.set(name, value)
      else if (typeof before === 'string') this.#values.set(name, [before, value])
      else before.push(value)
    }
  }

  count(name: string): number {
    const value = this.#values.get(name)
    if (value === undefined) return 0
    return typeof value === 'string' ? 1 : value.length
  }

  /** The one value of a header that came exactly once. */
  single(name: string): string | undefined {
    const value = this.#values.get(name)
    return typeof value === 'string' ? value : undefined
  }

  /**
   * The canonical value: each occurrence trimmed, runs of spaces folded into one, occurrences joined
   * by commas in the order received (AWS, "Create a canonical request").
   */
  canonical(name: string): string | undefined {
    const value = this.#values.get(name)
    if (value === undefined) return undefined
    return typeof value === 'string' ? fold(value) : value.map(fold).join(',')
  }
}

function fold(value: string): string {
  const trimmed = value.trim()
  return /\s\s|[^\S ]/.test(trimmed) ? trimmed.replaceAll(/\s+/g, ' ') : trimmed
}
