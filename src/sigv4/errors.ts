/** Why a request was not authenticated. For our log only: the caller gets one text for all of them. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../core/errors.ts'

export type SignatureErrorCode =
  | 'AUTHORIZATION_MISSING' // no Authorization header
  | 'AUTHORIZATION_MALFORMED' // not `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`
  | 'HEADERS_TOO_MANY' // more than 100 headers
  | 'HEADER_REPEATED' // a header that may come once came twice
  | 'HEADER_UNSIGNED' // host, x-amz-date or x-amz-content-sha256 is not among the signed
  | 'HEADER_MISSING' // a header is named as signed and is not there
  | 'TOKEN_REFUSED' // x-amz-security-token: these credentials are not temporary ones
  | 'TARGET_REFUSED' // a query, an encoded or a dotted path
  | 'DATE_MALFORMED' // x-amz-date is not yyyymmddThhmmssZ
  | 'DATE_SKEWED' // too far from our clock
  | 'SCOPE_MISMATCH' // date, region or service of the credential scope
  | 'BODY_HASH_MISMATCH' // x-amz-content-sha256 is not the hash of the body
  | 'CREDENTIAL_UNKNOWN' // no such access key id in this key store
  | 'CREDENTIAL_EXPIRED' // past its expiry
  | 'SIGNATURE_MISMATCH' // all is well-formed, and the signature is another

export class SignatureError extends LatchkeyError<SignatureErrorCode> {
  override readonly name = 'SignatureError'
}
