/** The error every part of Latchkey throws: a closed code, a sentence, and optionally what to do next. */
// SPDX-License-Identifier: Apache-2.0

export interface ErrorOptionsWithHint {
  /** What the operator can do about it; shown by the CLI on a line of its own. */
  readonly hint?: string
  readonly cause?: unknown
}

/**
 * `code` comes from the closed union of the part that throws (see `keys/errors.ts` and others).
 * `message` may reach a log or a terminal, so it never holds a secret, a plaintext or a PIN. What
 * KMS is told is decided in one place only, `xks/error-map.ts`.
 */
export class LatchkeyError<Code extends string = string> extends Error {
  override readonly name: string = 'LatchkeyError'
  readonly code: Code
  readonly hint: string | undefined

  constructor(code: Code, message: string, options: ErrorOptionsWithHint = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.hint = options.hint
  }
}
