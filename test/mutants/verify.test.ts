/** Mistakes that somebody could make in sigv4/verify.ts, where a wrong line is a breach. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { killAll, type Mutant } from '../support/mutation.ts'

const COMPARISON = 'equalBytes(Buffer.from(this.sign(text)), Buffer.from(signature))'

const DIGEST_MUTANTS: readonly Mutant[] = [
  {
    name: 'the first half of a signature is enough',
    from: COMPARISON,
    to: 'equalBytes(Buffer.from(this.sign(text).slice(0, 32)), Buffer.from(signature.slice(0, 32)))',
  },
  {
    name: 'a signature that is cut off is enough',
    from: COMPARISON,
    to: 'this.sign(text).startsWith(signature)',
  },
  {
    name: 'a signature may go on',
    from: COMPARISON,
    to: 'signature.startsWith(this.sign(text))',
  },
]

const MUTANTS: readonly Mutant[] = [
  { name: 'any signature will do', from: 'if (!matches)', to: 'if (false)' },
  {
    name: 'an unknown access key id is somebody',
    from: 'if (credential === undefined)\n',
    to: 'if (false)\n',
  },
  {
    name: 'an expired credential serves on',
    from: 'credential.expiresAt !== undefined && ',
    to: 'false && ',
  },
  {
    name: 'a credential serves in the instant of its expiry',
    from: 'deps.clock.now() >= credential.expiresAt',
    to: 'deps.clock.now() > credential.expiresAt',
  },
  {
    name: 'whoever cannot sign learns of an expiry',
    from: 'const matches =',
    to: "if (credential?.expiresAt !== undefined && deps.clock.now() >= credential.expiresAt) fail('CREDENTIAL_EXPIRED', ''); const matches =",
  },
  { name: 'any target will do', from: '            checkTarget(request.target);', to: '' },
  {
    name: 'dot segments will do',
    from: '!TARGET.test(target) || DOT_SEGMENT.test(target)',
    to: '!TARGET.test(target)',
  },
  {
    name: 'a target may have other characters',
    from: '!TARGET.test(target) || ',
    to: "!target.startsWith('/') || ",
  },
  {
    name: 'the target is not signed',
    from: 'canonicalUri: request.target',
    to: "canonicalUri: '/'",
  },
  { name: 'the method is not signed', from: 'method: request.method', to: "method: 'POST'" },
  {
    name: 'the body is not signed',
    from: 'sha256Hex(request.body)',
    to: "(headers.single('x-amz-content-sha256') ?? sha256Hex(request.body))",
  },
  {
    name: 'headers may come twice',
    from: 'if (headers.count(name) > 1)',
    to: 'if (headers.count(name) > 2)',
  },
  ...['authorization', 'host', ':authority', 'x-amz-date', 'content-length', 'content-type'].map(
    (name) => ({
      name: `${name} may come twice`,
      from: `\n    '${name}',\n`,
      to: "\n    'x-nobody',\n",
    }),
  ),
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

void t.test('nor does any in how a signature is compared', async (t) => {
  await killAll(t, {
    module: 'sigv4/signing-key.js',
    tests: ['unit/sigv4/digest.test.js'],
    mutants: DIGEST_MUTANTS,
  })
})
