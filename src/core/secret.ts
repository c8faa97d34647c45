/** A value that is shown as `[secret]` wherever it is printed, logged or serialized. */
// SPDX-License-Identifier: Apache-2.0
import { inspect } from 'node:util'

/**
 * The value cannot leak without an explicit `reveal()`. This is the third safeguard, after
 * allow-listed records and pino's redaction.
 */
export class Secret<T extends string | Buffer = string> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  /**
   * Returns the value itself. Callers keep it for as short a time as possible and never store it in
   * a plain field.
   */
  reveal(): T {
    return this.#value
  }

  toString(): string {
    return '[secret]'
  }

  toJSON(): string {
    return '[secret]'
  }

  [inspect.custom](): string {
    return '[secret]'
  }
}
