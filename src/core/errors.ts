/**
 * The base class of Latchkey's errors. Each has a code from a closed union, a message, and
 * optionally a hint.
 */
// SPDX-License-Identifier: Apache-2.0

export interface ErrorOptionsWithHint {
  /** Advice for the operator. The CLI prints it on a separate line. */
  readonly hint?: string
  readonly cause?: unknown
}

/**
 * `code` comes from the closed union of the component that throws, such as the one in
 * `keys/errors.ts`. `message` may reach a log or a terminal, so it never contains a secret, a
 * plaintext or a PIN. Only `xks/error-map.ts` decides what KMS receives.
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
