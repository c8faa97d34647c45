/** Checks the form that every API response must have. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { Answer } from './wire.ts'

/**
 * The statuses in the error table of XKS 1.0.3, "Error codes". They are copied from the specification, not imported
 * from the program.
 */
const STATUS = {
  ValidationException: 400,
  InvalidStateException: 400,
  InvalidCiphertextException: 400,
  InvalidKeyUsageException: 400,
  AuthenticationFailedException: 401,
  AccessDeniedException: 403,
  KeyNotFoundException: 404,
  InvalidUriPathException: 404,
  ThrottlingException: 429,
  UnsupportedOperationException: 501,
  DependencyTimeoutException: 503,
  InternalException: 500,
} as const

export type ErrorName = keyof typeof STATUS

/** Checks that the body is one line of compact JSON whose length matches the content-length header. */
function checkForm(t: Test, answer: Answer): void {
  t.equal(answer.headers.get('content-type'), 'application/json')
  t.equal(answer.headers.get('content-length'), String(Buffer.byteLength(answer.body)))
  t.match(answer.body, /^\{[\x20-\x7e]+\}$/)
  t.equal(answer.body, JSON.stringify(answer.json), 'compact')
}

/** Checks that a response is successful and has exactly these fields, in this order. */
export function checkSuccess(
  t: Test,
  answer: Answer | undefined,
  fields: readonly string[],
): Record<string, unknown> {
  if (answer === undefined) throw new Error('the connection was closed without an answer')
  t.equal(answer.status, 200, answer.body)
  checkForm(t, answer)
  t.same(Object.keys(answer.json), fields)
  return answer.json
}

/**
 * Checks that a response is exactly this error. Its status must be the one in STATUS, unless the test expects a
 * different status.
 */
export function checkError(
  t: Test,
  answer: Answer | undefined,
  errorName: ErrorName,
  expected: { readonly status?: number; readonly message?: string } = {},
): void {
  if (answer === undefined) throw new Error('the connection was closed without an answer')
  const { json } = answer
  t.equal(json['errorName'], errorName, answer.body)
  t.equal(answer.status, expected.status ?? STATUS[errorName])
  checkForm(t, answer)
  t.same(Object.keys(json), ['errorName', 'errorMessage'])
  const message = String(json['errorMessage'])
  t.ok(message.length > 0 && message.length < 512, `${String(message.length)} characters`)
  t.notMatch(message, /\bat .*:\d+|node_modules|\.[jt]s\b/, 'no stack')
  if (expected.message !== undefined) t.equal(message, expected.message)
}
