/** The only way to be authenticated. One form is accepted; everything else is refused. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { AccessKeyId, KeyStoreName } from '../core/ids.ts'
import { Secret } from '../core/secret.ts'
import { type Authorization, parseAmzDate, parseAuthorization } from './authorization-header.ts'
import type { Credential, CredentialLookup } from './credential.ts'
import { SignatureError, type SignatureErrorCode } from './errors.ts'
import { WireHeaders, canonicalRequest, stringToSign } from './signed-headers.ts'
import { SigningKeyCache, sha256Hex } from './signing-key.ts'

/** XKS 1.0.3, Authentication: the service name in every credential scope. */
export const SERVICE = 'kms-xks-proxy'

export interface SignedRequest {
  readonly method: string
  /** The request target, byte for byte as received. */
  readonly target: string
  /** Name, value, name, value, as received; on HTTP/2 with its pseudo-headers. */
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
}

export interface VerifyScope {
  readonly lookup: CredentialLookup
  /** AWS regions whose KMS may call; undefined: any. */
  readonly regions: readonly string[] | undefined
}

export interface Caller {
  readonly accessKeyId: AccessKeyId
  readonly region: string
}

export interface Verifier {
  /**
   * XKS 1.0.3, Appendix A. Takes equally long for an unknown access key id as for a known one.
   * @throws SignatureError, and nothing else
   */
  verify(request: SignedRequest, scope: VerifyScope): Caller
}

export interface VerifierDeps {
  readonly clock: Clock
  /** How far x-amz-date may be from our clock, either way, in milliseconds. */
  readonly clockSkewMs: number
}

/** May come at most once, or Node and an intermediary could each believe another one. */
const SINGLE = [
  'authorization',
  'host',
  ':authority',
  'x-amz-date',
  'content-length',
  'content-type',
]

/** KMS sends about ten, and each terminator on the way a few more. */
const MAX_HEADERS = 100

/** XKS paths need no other characters, so no two targets have the same canonical form. */
const TARGET = /^(?:\/[A-Za-z0-9._-]+)+$/
const DOT_SEGMENT = /\/\.{1,2}(?:\/|$)/

/** Stands in for an unknown access key id, so that the same work is done. Nobody can sign with it. */
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
      if (!matches) fail('SIGNATURE_MISMATCH', 'the signature is not that of this request')
      // Only after the signature: whoever cannot sign does not learn that an id has expired.
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
      'the request target has a query, or characters or segments of no XKS path',
    )
  }
}

function readAuthorization(headers: WireHeaders): Authorization {
  for (const name of SINGLE) {
    if (headers.count(name) > 1) fail('HEADER_REPEATED', `${name} came more than once`)
  }
  const text = headers.single('authorization')
  if (text === undefined) fail('AUTHORIZATION_MISSING', 'there is no Authorization header')
  const authorization = parseAuthorization(text)
  if (authorization === undefined) {
    fail('AUTHORIZATION_MALFORMED', 'the Authorization header has another form')
  }
  const signed = authorization.signedHeaders
  const bindsHost = signed.includes('host') || signed.includes(':authority')
  if (!bindsHost || !signed.includes('x-amz-date')) {
    fail('HEADER_UNSIGNED', 'host and x-amz-date must be signed')
  }
  if (headers.count('x-amz-security-token') > 0) {
    fail('TOKEN_REFUSED', 'there are no session tokens here')
  }
  return authorization
}

/** XKS 1.0.3, Appendix A, Task 4: recent, or it may be a replay. */
function checkDate(headers: WireHeaders, authorization: Authorization, deps: VerifierDeps): string {
  const amzDate = headers.single('x-amz-date') ?? ''
  const time = parseAmzDate(amzDate)
  if (time === undefined) fail('DATE_MALFORMED', 'x-amz-date is not yyyymmddThhmmssZ')
  if (Math.abs(time - deps.clock.now()) > deps.clockSkewMs) {
    fail('DATE_SKEWED', 'x-amz-date is too far from the time here')
  }
  if (!amzDate.startsWith(authorization.scope.date)) {
    fail('SCOPE_MISMATCH', 'the credential scope is of another day than x-amz-date')
  }
  return amzDate
}

function checkScope({ scope }: Authorization, regions: readonly string[] | undefined): void {
  if (scope.service !== SERVICE)
    fail('SCOPE_MISMATCH', 'the credential scope is of another service')
  if (regions !== undefined && !regions.includes(scope.region)) {
    fail('SCOPE_MISMATCH', 'the credential scope is of a region that may not call')
  }
}

/** Also what refuses UNSIGNED-PAYLOAD and the STREAMING- forms: they are no hash of this body. */
function checkBodyHash(headers: WireHeaders, authorization: Authorization, bodyHash: string): void {
  if (headers.count('x-amz-content-sha256') === 0) return
  if (!authorization.signedHeaders.includes('x-amz-content-sha256')) {
    fail('HEADER_UNSIGNED', 'x-amz-content-sha256 is there and not signed')
  }
  if (headers.single('x-amz-content-sha256') !== bodyHash) {
    fail('BODY_HASH_MISMATCH', 'x-amz-content-sha256 is not the hash of the body')
  }
}

/** HTTP/2 has `:authority` for `host`, and signers write the latter (XKS 1.0.3, Appendix A, Task 1). */
function readSigned(headers: WireHeaders, name: string): string {
  const value =
    headers.canonical(name) ?? (name === 'host' ? headers.canonical(':authority') : undefined)
  return value ?? fail('HEADER_MISSING', `${name} is named as signed and is not there`)
}
