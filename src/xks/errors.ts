/** The specification's table of errors: names, status codes, operations, and our messages. */
// SPDX-License-Identifier: Apache-2.0

import type { Operation } from '../core/request.ts'

export interface XksErrorRow {
  readonly status: number
  /** Operations that may return this error. */
  readonly operations: readonly Operation[]
  /** Default errorMessage: printable ASCII, under 512 characters (XKS 1.0.3, Error codes). */
  readonly message: string
}

const ALL = ['GetKeyMetadata', 'Encrypt', 'Decrypt', 'GetHealthStatus'] as const
const ON_KEYS = ['GetKeyMetadata', 'Encrypt', 'Decrypt'] as const

/**
 * The table in XKS 1.0.3, Error codes. Two rows go beyond the specification; their comments say
 * why.
 */
export const XKS_ERRORS = {
  ValidationException: {
    status: 400,
    // The specification's table omits this error for GetHealthStatus, but a missing required field
    // needs some response, and AWS's test client expects this name.
    operations: ALL,
    message: 'One or more input parameters are invalid.',
  },
  InvalidStateException: {
    status: 400,
    operations: ALL,
    message: 'The external key or key store is disabled, deactivated or blocked.',
  },
  InvalidCiphertextException: {
    status: 400,
    operations: ['Decrypt'],
    message:
      'The ciphertext, ciphertext metadata, initialization vector, additional authenticated data or authentication tag is corrupted, missing or otherwise invalid.',
  },
  InvalidKeyUsageException: {
    status: 400,
    operations: ['Encrypt', 'Decrypt'],
    message: 'The external key does not support the requested operation.',
  },
  AuthenticationFailedException: {
    status: 401,
    operations: ALL,
    message: 'The request does not carry a valid AWS SigV4 signature.',
  },
  AccessDeniedException: {
    status: 403,
    operations: ON_KEYS,
    message: 'The operation is not authorized for this request metadata.',
  },
  KeyNotFoundException: {
    status: 404,
    operations: ON_KEYS,
    message: 'The external key was not found.',
  },
  InvalidUriPathException: {
    status: 404,
    operations: ALL,
    message: 'The URI path does not match an operation of a key store of this proxy.',
  },
  ThrottlingException: {
    status: 429,
    operations: ALL,
    message: 'The request rate is too high.',
  },
  UnsupportedOperationException: {
    status: 501,
    operations: ALL,
    message: 'The operation is not implemented, or a parameter is larger than this proxy supports.',
  },
  DependencyTimeoutException: {
    status: 503,
    operations: ALL,
    message: 'The external key manager did not respond in time.',
  },
  InternalException: {
    status: 500,
    operations: ALL,
    message: 'The external key store proxy or its key manager failed.',
  },
} as const satisfies Record<string, XksErrorRow>

export type XksErrorName = keyof typeof XKS_ERRORS

export interface XksErrorDetails {
  /** Overrides the table's status; used only for HTTP-level responses, such as 405. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Logged as `reason`, and never sent to the caller. */
  readonly reason?: string
  readonly cause?: unknown
}

/**
 * The only error class that KMS sees. Its message is a constant of this program, never text from
 * elsewhere.
 */
export class XksError extends Error {
  override readonly name = 'XksError'
  readonly errorName: XksErrorName
  readonly status: number
  readonly headers: Readonly<Record<string, string>> | undefined
  readonly reason: string | undefined

  constructor(errorName: XksErrorName, message?: string, details: XksErrorDetails = {}) {
    super(
      message ?? XKS_ERRORS[errorName].message,
      'cause' in details ? { cause: details.cause } : undefined,
    )
    this.errorName = errorName
    this.status = details.status ?? XKS_ERRORS[errorName].status
    this.headers = details.headers
    this.reason = details.reason
  }
}

/** Reports whether the specification lets `operation` return `errorName`. */
export function isAllowed(errorName: XksErrorName, operation: Operation | undefined): boolean {
  const operations: readonly Operation[] = XKS_ERRORS[errorName].operations
  return operation === undefined || operations.includes(operation)
}
