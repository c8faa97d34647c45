/** The table of errors, and the one function that leads to it. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { BackendError } from '../../../src/backend/errors.ts'
import { DeadlineExceeded } from '../../../src/base/deadline.ts'
import { SignatureError } from '../../../src/sigv4/errors.ts'
import { BACKEND_ERRORS, toXksError } from '../../../src/xks/error-map.ts'
import { XKS_ERRORS, XksError, type Operation } from '../../../src/xks/errors.ts'

void t.test("[ERR-1] names and status codes are the specification's", (t) => {
  t.same(Object.fromEntries(Object.entries(XKS_ERRORS).map(([name, row]) => [name, row.status])), {
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
  })
  t.end()
})

void t.test('[ERR-2] every message is printable ASCII under 512 characters', (t) => {
  for (const [name, row] of Object.entries(XKS_ERRORS))
    t.match(row.message, /^[\x20-\x7e]{1,511}$/, name)
  t.end()
})

void t.test('[ERR-1] each internal error becomes the name that fits', (t) => {
  const name = (error: unknown, operation?: Operation) => toXksError(error, operation).errorName
  t.equal(name(new BackendError('KEY_NOT_FOUND', 'x'), 'Encrypt'), 'KeyNotFoundException')
  t.equal(name(new BackendError('KEY_DISABLED', 'x'), 'Decrypt'), 'InvalidStateException')
  t.equal(name(new BackendError('BUSY', 'x'), 'Decrypt'), 'ThrottlingException')
  t.equal(name(new BackendError('INTEGRITY_FAILURE', 'x'), 'Decrypt'), 'InvalidCiphertextException')
  t.equal(name(new BackendError('VERSION_NOT_FOUND', 'x'), 'Decrypt'), 'InvalidCiphertextException')
  t.equal(name(new DeadlineExceeded('x'), 'Decrypt'), 'DependencyTimeoutException')
  t.equal(
    name(new SignatureError('SIGNATURE_MISMATCH', 'x'), 'Decrypt'),
    'AuthenticationFailedException',
  )
  for (const thrown of [new Error('boom'), 'text', undefined, null, { code: 'KEY_NOT_FOUND' }]) {
    t.equal(name(thrown, 'Encrypt'), 'InternalException', 'anything else is a fault of ours')
  }
  t.end()
})

void t.test('[ERR-1] a name that an operation may not use becomes InternalException', (t) => {
  const failed = new BackendError('INTEGRITY_FAILURE', 'x')
  const error = toXksError(failed, 'Encrypt')
  t.match(error, { errorName: 'InternalException', status: 500, reason: 'INTEGRITY_FAILURE' })
  t.equal(error.cause, failed)
  t.equal(
    toXksError(new XksError('InvalidKeyUsageException'), 'GetKeyMetadata').errorName,
    'InternalException',
  )
  t.end()
})

void t.test('text of an internal error never reaches the caller', (t) => {
  for (const code of Object.keys(BACKEND_ERRORS) as (keyof typeof BACKEND_ERRORS)[]) {
    const error = toXksError(new BackendError(code, 'slot 4 at 10.0.0.1'), 'Decrypt')
    t.notMatch(error.message, /slot/, code)
  }
  t.end()
})
