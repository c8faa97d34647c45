/**
 * Identifies the emulator's callers: verifies a request's signature with the caller's credential.
 */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'
import { equalBytes } from '../../../core/constant-time.ts'
import type { Secret } from '../../../core/secret.ts'
import { parseAmzDate, parseAuthorization } from '../../../sigv4/authorization-header.ts'
import { WireHeaders, canonicalRequest, stringToSign } from '../../../sigv4/signed-headers.ts'
import { deriveSigningKey, sha256Hex } from '../../../sigv4/signing-key.ts'
import type { KmsCaller } from '../request-metadata.ts'

/** A credential of an AWS account, and the principal that it belongs to. */
export interface KmsCredential extends KmsCaller {
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
}

/** Errors that every AWS service can return, raised before KMS itself processes a request. */
export type FrontDoorErrorName =
  | 'MissingAuthenticationTokenException' // the request is not signed
  | 'IncompleteSignatureException' // the Authorization header cannot be parsed
  | 'UnrecognizedClientException' // there is no such access key id
  | 'InvalidSignatureException' // the secret, region or service is wrong, or the date is too old
  | 'UnknownOperationException' // the operation does not exist in KMS or in the emulator
  | 'SerializationException' // the body is not JSON

export class FrontDoorError extends Error {
  override readonly name = 'FrontDoorError'
  readonly code: FrontDoorErrorName

  constructor(code: FrontDoorErrorName, message: string) {
    super(message)
    this.code = code
  }
}

/** AWS accepts a clock skew of up to five minutes in either direction. */
const SKEW_MS = 300_000

/** @throws FrontDoorError */
export function findCaller(
  request: IncomingMessage,
  body: Buffer,
  {
    credentials,
    region,
    now,
  }: {
    readonly credentials: readonly KmsCredential[]
    readonly region: string
    readonly now: number
  },
): KmsCredential {
  const headers = new WireHeaders(request.rawHeaders)
  const header = headers.single('authorization')
  if (header === undefined) {
    throw new FrontDoorError('MissingAuthenticationTokenException', 'Missing Authentication Token')
  }
  const authorization = parseAuthorization(header)
  if (authorization === undefined) {
    throw new FrontDoorError('IncompleteSignatureException', 'Authorization header cannot be read.')
  }
  const { scope, signedHeaders, accessKeyId, signature } = authorization
  if (scope.service !== 'kms' || scope.region !== region) {
    throw new FrontDoorError(
      'InvalidSignatureException',
      `Credential should be scoped to the service kms and the region ${region}, not to ${scope.service} and ${scope.region}.`,
    )
  }
  const credential = credentials.find((one) => one.accessKeyId === accessKeyId)
  if (credential === undefined) {
    const message = 'The security token included in the request is invalid.'
    throw new FrontDoorError('UnrecognizedClientException', message)
  }
  const date = headers.single('x-amz-date') ?? ''
  const signedAt = parseAmzDate(date)
  if (signedAt === undefined || Math.abs(signedAt - now) > SKEW_MS) {
    const message = `Signature expired: ${date} is not within five minutes of now.`
    throw new FrontDoorError('InvalidSignatureException', message)
  }
  const canonical = canonicalRequest({
    method: request.method ?? '',
    canonicalUri: request.url ?? '',
    canonicalQuery: '',
    headers: signedHeaders.map((name) => [name, headers.canonical(name) ?? '']),
    bodyHash: sha256Hex(body),
  })
  const key = deriveSigningKey(credential.secretAccessKey, scope)
  const expected = key.sign(stringToSign(date, scope, canonical))
  if (!equalBytes(Buffer.from(expected), Buffer.from(signature))) {
    throw new FrontDoorError(
      'InvalidSignatureException',
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
    )
  }
  return credential
}
