/** Tests matching a request's metadata against a switch. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import type { RequestMetadata } from '../../../../src/core/request.ts'
import { createMatcher, matches } from '../../../../src/killswitch/gate/rules.ts'
import type { Criteria } from '../../../../src/core/scope.ts'

const REQUEST: Partial<RequestMetadata> = {
  awsPrincipalArn: 'arn:aws:sts::111122223333:assumed-role/Vendor/session-1',
  kmsKeyArn: 'arn:aws:kms:eu-west-1:444455556666:key/1234abcd',
  kmsViaService: 'ebs',
  awsSourceVpc: 'vpc-1',
  awsSourceVpce: 'vpce-2',
}

const CASES: readonly (readonly [Criteria, boolean, Partial<RequestMetadata>?])[] = [
  [{ account: '111122223333' }, true],
  [{ account: '444455556666' }, true],
  [{ account: '999999999999' }, false],
  [{ account: '111122223333' }, false, { awsPrincipalArn: 'AWS Internal' }],
  [{ account: '111122223333' }, false, { awsPrincipalArn: 'x111122223333' }],
  [{ principal: 'arn:aws:sts::*:assumed-role/Vendor/*' }, true],
  [{ principal: 'arn:aws:sts::*:assumed-role/vendor/*' }, false],
  [{ principal: '*' }, true],
  [{ principal: '*' }, false, {}],
  [{ viaService: 'ebs' }, true],
  [{ viaService: 'eb?' }, true],
  [{ viaService: 'eb' }, false],
  [{ viaService: 's3' }, false, {}],
  [{ vpc: 'vpc-1' }, true],
  [{ vpc: 'vpce-2' }, true],
  [{ vpc: 'vpc-2' }, false],
  [{ vpc: 'vpce-1' }, false],
  [{ account: '111122223333', viaService: 'ebs', vpc: 'vpc-*' }, true],
  [{ account: '111122223333', viaService: 's3' }, false],
]

void t.test('all criteria must hold', (t) => {
  for (const [criteria, expected, metadata = REQUEST] of CASES) {
    t.equal(createMatcher(criteria)(metadata), expected, JSON.stringify(criteria))
  }
  t.end()
})

void t.test('characters before a star are not matched again after it', (t) => {
  for (const [pattern, text] of [
    ['aa*ab', 'aab'],
    ['ab*ba', 'aba'],
    ['ab*b*', 'abaa'],
  ] as const) {
    t.notOk(matches(pattern, text), `${pattern} does not match ${text}`)
    t.ok(matches(pattern, `${text.slice(0, 2)}${pattern.slice(3)}`), `${pattern} matches`)
  }
  t.end()
})

void t.test('patterns match the same values as the equivalent regular expressions', (t) => {
  const letters = fc.stringMatching(/^[ab*?.]{0,12}$/)
  const check = fc.property(letters, fc.stringMatching(/^[ab.]{0,14}$/), (pattern, text) => {
    const source = pattern.replace(/[.*?]/g, (c) => (c === '*' ? '.*' : c === '?' ? '.' : '\\.'))
    return matches(pattern, text) === new RegExp(`^${source}$`, 's').test(text)
  })
  t.doesNotThrow(() => {
    fc.assert(check, { numRuns: 3000 })
  })
  t.end()
})

void t.test('a hostile pattern does not take exponential time', (t) => {
  const text = `${'a'.repeat(2000)}b`
  t.notOk(matches(`${'*a'.repeat(250)}c`, text))
  t.end()
})
