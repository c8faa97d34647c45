/** Who sent this: the SigV4 check of one request, and what is kept of one that fails it. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import type { SignedRequest, Verifier } from '../sigv4/verify.ts'
import type { KeyStore } from './key-store.ts'
import type { RequestRecord } from './request-record.ts'

/** Where a kmsRequestId is looked for in a body that nobody vouches for. */
const SEARCHED_BYTES = 4096

/** @throws SignatureError; the record then says how to find the request again in the caller's logs */
export function authenticate(
  verifier: Verifier,
  keyStore: KeyStore,
  request: SignedRequest,
  record: RequestRecord,
): void {
  try {
    const scope = { lookup: keyStore.credentials, regions: keyStore.regions }
    const caller = verifier.verify(request, scope)
    record.accessKeyId = caller.accessKeyId
    record.region = caller.region
  } catch (error) {
    record.bodySha256 = createHash('sha256').update(request.body).digest('hex')
    const claimed = findClaimedRequestId(request.body)
    if (claimed !== undefined) record.unverifiedKmsRequestId = claimed
    throw error
  }
}

function findClaimedRequestId(body: Buffer): string | undefined {
  const text = body.toString('latin1', 0, SEARCHED_BYTES)
  return /"kmsRequestId"\s*:\s*"([\x20-\x7e]{1,128}?)"/.exec(text)?.[1]
}
