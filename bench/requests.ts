/** Builds complete requests, signed before the measurement starts and ready to be written to a socket. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto'
import aws4 from 'aws4'

export interface SignFor {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly keyId: string
  /** Host header (default: localhost). */
  readonly host?: string
  /** URI path of the proxy (default: the demo's). */
  readonly uriPath?: string
}

const HOST = 'localhost'
const URI_PATH = '/demo/kms/xks/v1'

function metadata(kmsOperation: string) {
  return {
    awsPrincipalArn: 'arn:aws:sts::123456789012:assumed-role/S3Access/session-0123456789',
    kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    kmsOperation,
    kmsRequestId: randomUUID(),
    kmsViaService: 's3',
  }
}

/** Signs the same headers as KMS: only host and x-amz-date. */
export function signedRequest(path: string, body: string, signer: SignFor): string {
  const { host = HOST, uriPath = URI_PATH } = signer
  const signed = aws4.sign(
    {
      host,
      path: `${uriPath}${path}`,
      method: 'POST',
      service: 'kms-xks-proxy',
      region: 'us-east-1',
      body,
      doNotEncodePath: true,
      extraHeadersToIgnore: { 'content-length': true, 'content-type': true },
    } as unknown as aws4.Request,
    signer,
  )
  const headers = signed.headers as Record<string, string>
  return [
    `POST ${uriPath}${path} HTTP/1.1`,
    `Host: ${host}`,
    'Content-Type: application/json',
    `Content-Length: ${String(Buffer.byteLength(body))}`,
    `X-Amz-Date: ${headers['X-Amz-Date'] ?? ''}`,
    `Authorization: ${headers['Authorization'] ?? ''}`,
    '',
    body,
  ].join('\r\n')
}

/**
 * Returns the body of an Encrypt request for a 32-byte data key with AAD and CDIV, as KMS sends it for GenerateDataKey.
 */
export function encryptBody(): string {
  return JSON.stringify({
    requestMetadata: metadata('GenerateDataKey'),
    additionalAuthenticatedData: randomBytes(96).toString('base64'),
    plaintext: randomBytes(32).toString('base64'),
    encryptionAlgorithm: 'AES_GCM',
    ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
  })
}

export function decryptBody(sealed: Record<string, string>): string {
  return JSON.stringify({
    requestMetadata: metadata('Decrypt'),
    encryptionAlgorithm: 'AES_GCM',
    ciphertext: sealed['ciphertext'],
    ciphertextMetadata: sealed['ciphertextMetadata'],
    initializationVector: sealed['initializationVector'],
    authenticationTag: sealed['authenticationTag'],
  })
}

export function healthBody(): string {
  return JSON.stringify({
    requestMetadata: { kmsRequestId: randomUUID(), kmsOperation: 'KmsHealthCheck' },
  })
}
