/** Tests the error table and the one function that uses it. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DeadlineExceeded } from '../../../src/core/deadline.ts'
import { BackendError } from '../../../src/keys/errors.ts'
import { GateError } from '../../../src/killswitch/model.ts'
import { SignatureError } from '../../../src/sigv4/errors.ts'
import {
  BACKEND_ERRORS,
  GATE_ERRORS,
  isManagerFailure,
  toXksError,
} from '../../../src/xks/error-map.ts'
import { XKS_ERRORS, XksError } from '../../../src/xks/errors.ts'

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

const OPERATIONS = ['GetKeyMetadata', 'Encrypt', 'Decrypt', 'GetHealthStatus'] as const

/** The names are duplicated here so that any change to the program's table is detected. */
const DECRYPT_NAMES = {
  KEY_NOT_FOUND: 'KeyNotFoundException',
  KEY_DISABLED: 'InvalidStateException',
  KEY_NOT_ACTIVE: 'InvalidStateException',
  KEY_DEACTIVATED: 'InvalidStateException',
  KEY_USAGE: 'InvalidKeyUsageException',
  KEY_EXHAUSTED: 'InvalidStateException',
  KEY_REPLACED: 'InvalidStateException',
  KEY_EXISTS: 'InternalException',
  KEY_DATES_INVALID: 'InternalException',
  VERSION_NOT_FOUND: 'InvalidCiphertextException',
  VERSION_RETIRED: 'InvalidStateException',
  INTEGRITY_FAILURE: 'InvalidCiphertextException',
  LIMIT_EXCEEDED: 'UnsupportedOperationException',
  BUSY: 'ThrottlingException',
  TIMEOUT: 'DependencyTimeoutException',
  UNAVAILABLE: 'InternalException',
  MISCONFIGURED: 'InternalException',
  CONTRACT: 'InternalException',
} as const satisfies typeof BACKEND_ERRORS

void t.test('[ERR-1] each code of a key manager has its name, and is kept for the log', (t) => {
  t.same(Object.keys(DECRYPT_NAMES).sort(), Object.keys(BACKEND_ERRORS).sort())
  for (const [code, errorName] of Object.entries(DECRYPT_NAMES)) {
    const cause = new BackendError(code as keyof typeof DECRYPT_NAMES, 'x')
    const error = toXksError(cause, 'Decrypt')
    t.match(error, { errorName, reason: code, status: XKS_ERRORS[errorName].status }, code)
    t.equal(error.cause, cause)
  }
  t.end()
})

const GATE_NAMES = {
  KILLED_ALL: 'InvalidStateException',
  KILLED_STORE: 'InvalidStateException',
  KILLED_KEY: 'InvalidStateException',
  KILLED_MATCH: 'AccessDeniedException',
  ACCESS_DEADLINE: 'InvalidStateException',
  LEASE_EXPIRED: 'InvalidStateException',
  EPOCH_WENT_BACK: 'InvalidStateException',
  STORE_LOST: 'InvalidStateException',
  HIGH_WATER_UNWRITABLE: 'InvalidStateException',
  SENTINEL: 'InvalidStateException',
  SIGNAL: 'InvalidStateException',
  STOPPED: 'InvalidStateException',
} as const satisfies typeof GATE_ERRORS

void t.test('[ERR-1] each code of the gate has its name, for each operation', (t) => {
  t.same(Object.keys(GATE_NAMES).sort(), Object.keys(GATE_ERRORS).sort())
  for (const [code, errorName] of Object.entries(GATE_NAMES)) {
    for (const operation of OPERATIONS) {
      const isHealthOfMatch = code === 'KILLED_MATCH' && operation === 'GetHealthStatus'
      t.match(
        toXksError(new GateError(code as keyof typeof GATE_NAMES, 'x'), operation),
        // The gate never refuses a health check because of its metadata.
        { errorName: isHealthOfMatch ? 'InternalException' : errorName, reason: code },
        `${code}, ${operation}`,
      )
    }
  }
  t.end()
})

void t.test('[ERR-1] each other error becomes the name that fits', (t) => {
  t.match(toXksError(new DeadlineExceeded('x'), 'Decrypt'), {
    errorName: 'DependencyTimeoutException',
    reason: 'TIMEOUT',
  })
  t.match(toXksError(new SignatureError('SIGNATURE_MISMATCH', 'x'), 'Decrypt'), {
    errorName: 'AuthenticationFailedException',
    reason: 'SIGNATURE_MISMATCH',
  })
  for (const thrown of [new Error('boom'), 'text', undefined, null, { code: 'KEY_NOT_FOUND' }]) {
    for (const operation of [...OPERATIONS, undefined]) {
      const error = toXksError(thrown, operation)
      t.match(error, { errorName: 'InternalException', reason: 'UNEXPECTED' }, 'internal error')
      t.equal(error.cause, thrown)
    }
  }
  t.end()
})

void t.test('[ERR-1] a name that an operation may not use becomes InternalException', (t) => {
  const failed = new BackendError('INTEGRITY_FAILURE', 'x')
  const error = toXksError(failed, 'Encrypt')
  t.match(error, { errorName: 'InternalException', status: 500, reason: 'INTEGRITY_FAILURE' })
  t.equal(error.cause, failed)

  const odd = new BackendError('KEY_USAGE', 'x')
  const described = toXksError(odd, 'GetKeyMetadata')
  t.match(described, { errorName: 'InvalidStateException', status: 400, reason: 'KEY_USAGE' })
  t.equal(described.cause, odd)
  for (const operation of ['Encrypt', 'Decrypt'] as const)
    t.match(toXksError(odd, operation), { errorName: 'InvalidKeyUsageException' })
  const missing = toXksError(new BackendError('KEY_NOT_FOUND', 'x'), 'GetKeyMetadata')
  t.equal(missing.errorName, 'KeyNotFoundException')

  const usage = new XksError('InvalidKeyUsageException')
  t.equal(toXksError(usage, 'Decrypt'), usage, 'an error that the operation may use is kept')
  const wrapped = toXksError(usage, 'GetKeyMetadata')
  t.match(wrapped, { errorName: 'InternalException', reason: 'InvalidKeyUsageException' })
  t.equal(wrapped.cause, usage)
  const reasoned = new XksError('InvalidKeyUsageException', undefined, { reason: 'KEY_USAGE' })
  t.equal(toXksError(reasoned, 'GetKeyMetadata').reason, 'KEY_USAGE', 'the inner reason is kept')
  t.end()
})

void t.test('failures that are attributed to a key manager', (t) => {
  const blamed = Object.keys(BACKEND_ERRORS).filter((code) =>
    isManagerFailure(new BackendError(code as keyof typeof BACKEND_ERRORS, 'x')),
  )
  t.same(blamed.sort(), ['CONTRACT', 'MISCONFIGURED', 'TIMEOUT', 'UNAVAILABLE'])
  t.ok(isManagerFailure(new DeadlineExceeded('x')))
  for (const other of [new GateError('KILLED_ALL', 'x'), new Error('x'), { code: 'TIMEOUT' }, null])
    t.notOk(isManagerFailure(other))
  t.end()
})

void t.test('text of an internal error never reaches the caller', (t) => {
  for (const code of Object.keys(BACKEND_ERRORS) as (keyof typeof BACKEND_ERRORS)[]) {
    const error = toXksError(new BackendError(code, 'slot 4 at 10.0.0.1'), 'Decrypt')
    t.notMatch(error.message, /slot/, code)
  }
  t.end()
})
