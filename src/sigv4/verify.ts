/**
 * The only code that authenticates requests. It accepts one form of request and refuses everything
 * else.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { AccessKeyId, KeyStoreName } from '../core/ids.ts'
import { Secret } from '../core/secret.ts'
import { type Authorization, parseAmzDate, parseAuthorization } from './authorization-header.ts'
import type { Credential, CredentialLookup } from './credential.ts'
import { SignatureError, type SignatureErrorCode } from './errors.ts'
import { WireHeaders, canonicalRequest, stringToSign } from './signed-headers.ts'
import { SigningKeyCache, sha256Hex } from './signing-key.ts'

/** The service name in every credential scope (XKS 1.0.3, Authentication). */
export const SERVICE = 'kms-xks-proxy'

export interface SignedRequest {
  readonly method: string
  /** The request target, byte for byte as received. */
  readonly target: string
  /** Alternating names and values, as received; on HTTP/2, they include the pseudo-headers. */
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
}

export interface VerifyScope {
  readonly lookup: CredentialLookup
  /** AWS regions from which KMS may call; undefined to allow every region. */
  readonly regions: readonly string[] | undefined
}

export interface Caller {
  readonly accessKeyId: AccessKeyId
  readonly region: string
}

export interface Verifier {
  /**
   * Verifies a signature as XKS 1.0.3, Appendix A describes. Takes the same time for unknown and
   * known access key ids.
   * @throws SignatureError, and nothing else
   */
  verify(request: SignedRequest, scope: VerifyScope): Caller
}

export interface VerifierDeps {
  readonly clock: Clock
  /** Maximum difference between x-amz-date and our clock in either direction, in milliseconds. */
  readonly clockSkewMs: number
}

/**
 * These headers may appear at most once. Otherwise, Node and an intermediary could each use a
 * different one.
 */
const SINGLE = [
  'authorization',
  'host',
  ':authority',
  'x-amz-date',
  'content-length',
  'content-type',
]

/** Maximum number of headers. KMS sends about ten, and each proxy on the way adds a few. */
const MAX_HEADERS = 100

/**
 * XKS paths need no other characters. Among paths of only these characters, no two have the same
 * canonical form.
 */
const TARGET = /^(?:\/[A-Za-z0-9._-]+)+$/
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/

/**
 * Placeholder for an unknown access key id, so that verification does the same work. No caller can
 * sign with it.
 */
const NOBODY: Credential = {
  accessKeyId: '' as AccessKeyId,
  keyStore: '' as KeyStoreName,
  secretAccessKey: new Secret(''),
}

export function createVerifier(deps: VerifierDeps): Verifier {
  const signingKeys = new SigningKeyCache()
  return {
    verify(request, scope) {
      checkTarget(request.target)
      if (request.rawHeaders.length > 2 * MAX_HEADERS)
        fail('HEADERS_TOO_MANY', 'the request has more than 100 headers')
      const headers = new WireHeaders(request.rawHeaders)
      const authorization = readAuthorization(headers)
      const amzDate = checkDate(headers, authorization, deps)
      checkScope(authorization, scope.regions)
      const bodyHash = sha256Hex(request.body)
      checkBodyHash(headers, authorization, bodyHash)

      const canonical = canonicalRequest({
        method: request.method,
        canonicalUri: request.target,
        canonicalQuery: '',
        headers: authorization.signedHeaders.map((name) => [name, readSigned(headers, name)]),
        bodyHash,
      })
      const text = stringToSign(amzDate, authorization.scope, canonical)
      const credential = scope.lookup(authorization.accessKeyId)
      const key = signingKeys.get(credential ?? NOBODY, authorization.scope)
      const matches = key.verify(text, authorization.signature)
      if (credential === undefined) fail('CREDENTIAL_UNKNOWN', 'no such access key id')
      if (!matches) fail('SIGNATURE_MISMATCH', 'the signature does not match the request')
      // The expiry is checked after the signature, so that a caller who cannot sign does not learn
      // that an id has expired.
      if (credential.expiresAt !== undefined && deps.clock.now() >= credential.expiresAt) {
        fail('CREDENTIAL_EXPIRED', 'the credential has expired')
      }
      return { accessKeyId: credential.accessKeyId, region: authorization.scope.region }
    },
  }
}

function fail(code: SignatureErrorCode, message: string): never {
  throw new SignatureError(code, message)
}

function checkTarget(target: string): void {
  if (!TARGET.test(target) || DOT_SEGMENT.test(target)) {
    fail(
      'TARGET_REFUSED',
      'the request target has a query, or contains characters or segments that no XKS path has',
    )
  }
}

function readAuthorization(headers: WireHeaders): Authorization {
  for (const name of SINGLE) {
    if (headers.count(name) > 1) fail('HEADER_REPEATED', `${name} appears more than once`)
  }
  const text = headers.single('authorization')
  if (text === undefined) fail('AUTHORIZATION_MISSING', 'the Authorization header is missing')
  const authorization = parseAuthorization(text)
  if (authorization === undefined) {
    fail('AUTHORIZATION_MALFORMED', 'the Authorization header is malformed')
  }
  const signed = authorization.signedHeaders
  const bindsHost = signed.includes('host') || signed.includes(':authority')
  if (!bindsHost || !signed.includes('x-amz-date')) {
    fail('HEADER_UNSIGNED', 'host and x-amz-date must be signed')
  }
  if (headers.count('x-amz-security-token') > 0) {
    fail('TOKEN_REFUSED', 'session tokens are not supported')
  }
  return authorization
}

/** Checks the date, because an old request may be a replay (XKS 1.0.3, Appendix A, Task 4). */
function checkDate(headers: WireHeaders, authorization: Authorization, deps: VerifierDeps): string {
  const amzDate = headers.single('x-amz-date') ?? ''
  const time = parseAmzDate(amzDate)
  if (time === undefined)
    fail('DATE_MALFORMED', 'x-amz-date does not have the format yyyymmddThhmmssZ')
  if (Math.abs(time - deps.clock.now()) > deps.clockSkewMs) {
    fail('DATE_SKEWED', 'x-amz-date is too far from the local time')
  }
  if (!amzDate.startsWith(authorization.scope.date)) {
    fail('SCOPE_MISMATCH', 'the credential scope and x-amz-date have different dates')
  }
  return amzDate
}

function checkScope({ scope }: Authorization, regions: readonly string[] | undefined): void {
  if (scope.service !== SERVICE)
    fail('SCOPE_MISMATCH', 'the credential scope names a service other than kms-xks-proxy')
  if (regions !== undefined && !regions.includes(scope.region)) {
    fail('SCOPE_MISMATCH', 'the credential scope names a region that is not allowed')
  }
}

/**
 * This check also refuses UNSIGNED-PAYLOAD and the STREAMING- forms, which are not hashes of the
 * body.
 */
function checkBodyHash(headers: WireHeaders, authorization: Authorization, bodyHash: string): void {
  if (headers.count('x-amz-content-sha256') === 0) return
  if (!authorization.signedHeaders.includes('x-amz-content-sha256')) {
    fail('HEADER_UNSIGNED', 'x-amz-content-sha256 is present but not signed')
  }
  if (headers.single('x-amz-content-sha256') !== bodyHash) {
    fail('BODY_HASH_MISMATCH', 'x-amz-content-sha256 is not the hash of the body')
  }
}

/**
 * HTTP/2 has `:authority` instead of `host`, but signers write `host` (XKS 1.0.3, Appendix A, Task
 * 1).
 */
function readSigned(headers: WireHeaders, name: string): string {
  const value =
    headers.canonical(name) ?? (name === 'host' ? headers.canonical(':authority') : undefined)
  return value ?? fail('HEADER_MISSING', `${name} is listed as signed but is missing`)
}
