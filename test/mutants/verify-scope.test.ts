/** Further mistakes in sigv4/verify.ts: what must be signed, when, where, and over which body. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { killAll, type Mutant } from '../support/mutation.ts'

const MUTANTS: readonly Mutant[] = [
  {
    name: 'host need not be signed',
    from: 'if (!bindsHost || ',
    to: 'if (',
  },
  {
    name: 'x-amz-date need not be signed',
    from: "if (!bindsHost || !signed.includes('x-amz-date'))",
    to: 'if (!bindsHost)',
  },
  {
    name: ':authority is not taken for a host',
    from: " || signed.includes(':authority')",
    to: '',
  },
  {
    name: 'a session token is ignored',
    from: "if (headers.count('x-amz-security-token') > 0)",
    to: 'if (false)',
  },
  {
    name: 'a date that is none is today',
    from: 'const time = parseAmzDate(amzDate);',
    to: 'const time = parseAmzDate(amzDate) ?? deps.clock.now();',
  },
  {
    name: 'an old date will do',
    from: 'Math.abs(time - deps.clock.now())',
    to: '(time - deps.clock.now())',
  },
  {
    name: 'a future date will do',
    from: 'Math.abs(time - deps.clock.now())',
    to: '(deps.clock.now() - time)',
  },
  { name: 'a millisecond less of skew', from: '> deps.clockSkewMs', to: '>= deps.clockSkewMs' },
  {
    name: 'the scope may be of another day',
    from: 'if (!amzDate.startsWith(authorization.scope.date))',
    to: 'if (false)',
  },
  {
    name: 'the scope may be of another service',
    from: 'if (scope.service !== SERVICE)',
    to: 'if (false)',
  },
  {
    name: 'the scope may be of any region',
    from: 'if (regions !== undefined && ',
    to: 'if (false && ',
  },
  { name: 'an empty list of regions is any', from: 'regions !== undefined', to: 'regions?.length' },
  {
    name: 'x-amz-content-sha256 need not be signed',
    from: "if (!authorization.signedHeaders.includes('x-amz-content-sha256'))",
    to: 'if (false)',
  },
  {
    name: 'x-amz-content-sha256 need not be that of the body',
    from: "if (headers.single('x-amz-content-sha256') !== bodyHash)",
    to: 'if (false)',
  },
  {
    name: ':authority stands in for any header',
    from: "(name === 'host' ? headers.canonical(':authority') : undefined)",
    to: "headers.canonical(':authority')",
  },
  {
    name: 'a signed header that is missing is empty',
    from: 'value ?? fail(',
    to: "value ?? '' ?? fail(",
  },
]

// A process for each mistake: more than the usual half minute where there is much else to do.
t.setTimeout(110_000)

void t.test('no mistake in sigv4/verify.ts goes unseen', async (t) => {
  await killAll(t, {
    module: 'sigv4/verify.js',
    tests: ['unit/sigv4/verify-refusals.test.js', 'unit/sigv4/verify.test.js'],
    mutants: MUTANTS,
  })
})
