/** Tests random requests with independent signers: their signatures equal ours, and our verifier accepts them. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  assertAccepted,
  authorizationIn,
  sample,
  signatureIn,
  signByAws4,
  signBySmithy,
  signByUs,
} from '../support/sigv4-samples.ts'

void t.test(
  'aws4, @smithy/signature-v4 and we compute the same signature, and accept it',
  async () => {
    await fc.assert(
      fc.asyncProperty(sample, async (item) => {
        const byAws4 = signByAws4(item)
        const bySmithy = await signBySmithy(item, false)
        const ours = signByUs(item, byAws4)
        if (signatureIn(byAws4) !== ours) throw new Error('aws4 has another signature')
        if (signatureIn(bySmithy) !== ours) throw new Error('smithy has another signature')
        assertAccepted(item, byAws4)
        assertAccepted(item, bySmithy)
      }),
      { numRuns: 150 },
    )
  },
)

void t.test('they also agree with x-amz-content-sha256, as AWS SDKs send it', async () => {
  await fc.assert(
    fc.asyncProperty(sample, async (item) => {
      const request = await signBySmithy(item, true)
      if (!authorizationIn(request).includes(';x-amz-content-sha256;'))
        throw new Error('the hash of the body is not signed')
      if (signatureIn(request) !== signByUs(item, request)) throw new Error('another signature')
      assertAccepted(item, request)
    }),
    { numRuns: 75 },
  )
})
