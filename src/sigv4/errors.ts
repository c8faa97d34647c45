/**
 * Reasons why authentication fails. The codes are only logged: the caller gets the same text for
 * all of them.
 */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../core/errors.ts'

export type SignatureErrorCode =
  | 'AUTHORIZATION_MISSING' // the Authorization header is missing
  | 'AUTHORIZATION_MALFORMED' // the header is not `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`
  | 'HEADERS_TOO_MANY' // the request has more than 100 headers
  | 'HEADER_REPEATED' // a header that may appear only once appears twice
  | 'HEADER_UNSIGNED' // host, x-amz-date or x-amz-content-sha256 is not signed
  | 'HEADER_MISSING' // a signed header is missing from the request
  | 'TOKEN_REFUSED' // x-amz-security-token is present, but these credentials are not temporary
  | 'TARGET_REFUSED' // the path has a query, an encoded character or a dotted segment
  | 'DATE_MALFORMED' // x-amz-date is not yyyymmddThhmmssZ
  | 'DATE_SKEWED' // x-amz-date differs too much from this host's clock
  | 'SCOPE_MISMATCH' // the credential scope has the wrong date, region or service
  | 'BODY_HASH_MISMATCH' // x-amz-content-sha256 is not the hash of the body
  | 'CREDENTIAL_UNKNOWN' // this key store has no such access key id
  | 'CREDENTIAL_EXPIRED' // the credential has expired
  | 'SIGNATURE_MISMATCH' // the request is well-formed, but its signature differs

export class SignatureError extends LatchkeyError<SignatureErrorCode> {
  override readonly name = 'SignatureError'
}
