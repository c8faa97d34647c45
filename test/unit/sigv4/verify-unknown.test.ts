/**
 * Tests that an unknown access key id requires the same work as a known one, so that timing does not reveal which ids
 * exist.
 */
// SPDX-License-Identifier: Apache-2.0
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import t from 'tap'
import { createVerifier, type SignedRequest } from '../../../src/sigv4/verify.ts'
import { OTHER_ACCESS_KEY_ID } from '../../support/credential.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { CLOCK_SKEW_MS, knowsOne, NOW, signed, verdictOn } from '../../support/sigv4-request.ts'

const WATCHED = ['createHash', 'createHmac', 'hash', 'timingSafeEqual'] as const

/** Returns the cryptographic calls made by `work`, in order. */
function watchCalls(work: () => void): readonly string[] {
  const originals = WATCHED.map((name) => [name, crypto[name]] as const)
  const calls: string[] = []
  for (const [name, original] of originals) {
    const watched = (...args: unknown[]) => {
      calls.push(name)
      return Reflect.apply(original, crypto, args) as unknown
    }
    Object.assign(crypto, { [name]: watched })
  }
  syncBuiltinESMExports()
  try {
    work()
  } finally {
    for (const [name, original] of originals) Object.assign(crypto, { [name]: original })
    syncBuiltinESMExports()
  }
  return calls
}

function watchVerifier() {
  const verifier = createVerifier({ clock: new FakeClock(NOW), clockSkewMs: CLOCK_SKEW_MS })
  return (request: SignedRequest) => {
    const looked: string[] = []
    const lookup = (id: string) => {
      looked.push(id)
      return knowsOne(id)
    }
    let code: unknown
    const calls = watchCalls(() => {
      try {
        verifier.verify(request, { lookup, regions: undefined })
      } catch (error) {
        code = (error as { readonly code?: unknown }).code
      }
    })
    return { calls, code, looked }
  }
}

const WRONG_SECRET = signed({ secretAccessKey: 'x'.repeat(43) })
const UNKNOWN = signed({ accessKeyId: OTHER_ACCESS_KEY_ID })

void t.test('the first request makes the same calls for an unknown id as for a known one', (t) => {
  const known = watchVerifier()(WRONG_SECRET)
  const unknown = watchVerifier()(UNKNOWN)
  t.equal(known.code, 'SIGNATURE_MISMATCH')
  t.equal(unknown.code, 'CREDENTIAL_UNKNOWN')
  t.same(unknown.calls, known.calls)
  t.equal(known.calls.filter((name) => name === 'timingSafeEqual').length, 1)
  t.ok(known.calls.length > 6, 'the key was derived')
  t.same(unknown.looked, [OTHER_ACCESS_KEY_ID], 'looked up once')
  t.equal(known.looked.length, 1)
  t.end()
})

void t.test('later requests, whose signing key is cached, make the same calls, too', (t) => {
  const ask = watchVerifier()
  const first = ask(UNKNOWN)
  ask(WRONG_SECRET)
  const unknown = ask(UNKNOWN)
  t.ok(unknown.calls.length < first.calls.length, 'a key is kept for nobody too')
  t.same(unknown.calls, ask(WRONG_SECRET).calls)
  t.equal(unknown.calls.filter((name) => name === 'timingSafeEqual').length, 1)
  t.end()
})

void t.test('an unknown id is refused, even when signed with an empty secret', (t) => {
  const request = signed({ accessKeyId: OTHER_ACCESS_KEY_ID, secretAccessKey: '' })
  t.equal(verdictOn(request).code, 'CREDENTIAL_UNKNOWN', 'the signature is that of the stand-in')
  for (const accessKeyId of ['A', 'a'.repeat(128), 'INVALIDinvalid019', 'constructor', 'toString'])
    t.equal(verdictOn(signed({ accessKeyId })).code, 'CREDENTIAL_UNKNOWN', accessKeyId)
  t.end()
})

void t.test('a malformed request is not looked up', (t) => {
  const { looked } = watchVerifier()(signed({ service: 's3' }))
  t.same(looked, [])
  t.end()
})
