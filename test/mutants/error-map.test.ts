/** Mistakes that somebody could make in xks/error-map.ts, which says how much a caller learns. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { BACKEND_ERRORS } from '../../src/xks/error-map.ts'
import { killAll, type Mutant } from '../support/mutation.ts'

/** Each row of the table, given another name. */
const ROWS: readonly Mutant[] = Object.entries(BACKEND_ERRORS).map(([code, errorName]) => ({
  name: `${code} has another name`,
  from: `    ${code}: '${errorName}',`,
  to: `    ${code}: '${errorName === 'InternalException' ? 'KeyNotFoundException' : 'InternalException'}',`,
}))

const MUTANTS: readonly Mutant[] = [
  ...ROWS,
  {
    name: 'a switch that is set is a fault of ours',
    from: 'if (error instanceof GateError)',
    to: 'if (false)',
  },
  {
    name: 'a failed signature is a fault of ours',
    from: 'if (error instanceof SignatureError)',
    to: 'if (false)',
  },
  {
    name: 'a deadline that is over is a fault of ours',
    from: 'if (error instanceof DeadlineExceeded)',
    to: 'if (false)',
  },
  {
    name: 'what nobody expected has a name that tells something',
    from: "{ errorName: 'InternalException', reason: 'UNEXPECTED' }",
    to: "{ errorName: 'InvalidCiphertextException', reason: 'UNEXPECTED' }",
  },
  {
    name: 'an error of ours may have a name that the operation has not',
    from: 'if (isAllowed(error.errorName, operation))\n            return error;',
    to: 'return error;',
  },
  {
    name: "a backend's error may have a name that the operation has not",
    from: "isAllowed(errorName, operation) ? errorName : 'InternalException'",
    to: 'errorName',
  },
  {
    name: 'the text of an internal error goes to the caller',
    from: 'new XksError(name, undefined, { reason, cause: error })',
    to: 'new XksError(name, error?.message, { reason, cause: error })',
  },
  { name: 'the reason is lost', from: '{ reason, cause: error }', to: '{ cause: error }' },
  { name: 'the cause is lost', from: '{ reason, cause: error }', to: '{ reason }' },
]

// A process for each mistake: more than the usual half minute where there is much else to do.
t.setTimeout(110_000)

void t.test('no mistake in xks/error-map.ts goes unseen', async (t) => {
  await killAll(t, {
    module: 'xks/error-map.js',
    tests: ['unit/xks/errors.test.js'],
    mutants: MUTANTS,
  })
})
