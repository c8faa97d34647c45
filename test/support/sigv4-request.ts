/** Provides a request signed as KMS would sign it, which tests can modify, and a verifier for it. */
// SPDX-License-Identifier: Apache-2.0
import type { CredentialLookup } from '../../src/sigv4/credential.ts'
import { SignatureError, type SignatureErrorCode } from '../../src/sigv4/errors.ts'
import { createVerifier, type Caller, type SignedRequest } from '../../src/sigv4/verify.ts'
import { ACCESS_KEY_ID, makeCredential, SECRET_ACCESS_KEY } from './credential.ts'
import { FakeClock } from './fake-clock.ts'
import { sign, type Signable } from './sigv4-signer.ts'

/** FakeClock's initial time, in milliseconds and in the format of x-amz-date. */
export const NOW = Date.UTC(2026, 0, 15, 12)
export const AMZ_DATE = '20260115T120000Z'
export const CLOCK_SKEW_MS = 300_000

export const HOST = ['Host', 'xks.example.com'] as const
export const DATE = ['X-Amz-Date', AMZ_DATE] as const

export const KMS_REQUEST: Signable = {
  method: 'POST',
  target: '/demo/kms/xks/v1/keys/test-key/encrypt',
  headers: [HOST, ['Content-Type', 'application/json'], DATE],
  signedNames: ['host', 'x-amz-date'],
  body: Buffer.from('{"requestMetadata":{}}'),
  amzDate: AMZ_DATE,
  region: 'eu-west-1',
  service: 'kms-xks-proxy',
  accessKeyId: ACCESS_KEY_ID,
  secretAccessKey: SECRET_ACCESS_KEY,
}

export const knowsOne: CredentialLookup = (() => {
  const credential = makeCredential()
  return (id) => (id === credential.accessKeyId ? credential : undefined)
})()

/** Returns KMS_REQUEST with changes, signed after they are applied. */
export function signed(changes: Partial<Signable> = {}): SignedRequest {
  return sign({ ...KMS_REQUEST, ...changes })
}

/** Returns the request with a different value for a header; undefined removes the header. */
export function withHeader(
  request: SignedRequest,
  name: string,
  value: string | undefined,
): SignedRequest {
  const { rawHeaders } = request
  return {
    ...request,
    rawHeaders: rawHeaders.flatMap((text, i) => {
      if (i % 2 === 1) return []
      if (text.toLowerCase() !== name) return [text, rawHeaders[i + 1] ?? '']
      return value === undefined ? [] : [text, value]
    }),
  }
}

/** Returns the request with additional unsigned headers at the end. */
export function withMore(request: SignedRequest, ...lines: readonly string[]): SignedRequest {
  return { ...request, rawHeaders: [...request.rawHeaders, ...lines] }
}

export interface Asking {
  readonly clock?: FakeClock
  readonly lookup?: CredentialLookup
  readonly regions?: readonly string[]
}

export interface Verdict {
  readonly caller?: Caller
  readonly code?: SignatureErrorCode
  readonly message?: string
}

/** Returns a new verifier's verdict. @throws any error other than a SignatureError */
export function verdictOn(request: SignedRequest, asking: Asking = {}): Verdict {
  const clock = asking.clock ?? new FakeClock(NOW)
  const verifier = createVerifier({ clock, clockSkewMs: CLOCK_SKEW_MS })
  try {
    const scope = { lookup: asking.lookup ?? knowsOne, regions: asking.regions }
    return { caller: verifier.verify(request, scope) }
  } catch (error) {
    if (error instanceof SignatureError) return { code: error.code, message: error.message }
    throw error
  }
}
