/** Well-formed bodies of the four operations, with requestMetadata as KMS fills it in. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { probeRequestId } from '../../core/probe.ts'
import { partitionOf } from '../../core/partitions.ts'

export interface EncryptArguments {
  readonly plaintext: Buffer
  readonly aad?: Buffer
  /** Set to request a CDIV, as KMS does for data keys. */
  readonly cdiv?: boolean
}

export interface DecryptArguments {
  readonly ciphertext: Buffer
  readonly initializationVector: Buffer
  readonly authenticationTag: Buffer
  readonly ciphertextMetadata?: Buffer
  readonly aad?: Buffer
}

/** Fields of requestMetadata (XKS 1.0.3, Appendix B). Every given field is sent. */
export type RequestMetadata = Readonly<Record<string, unknown>>

/** Returns requestMetadata as KMS fills it in for a principal of the example account. */
export function requestMetadata(kmsOperation: string, region: string): RequestMetadata {
  return {
    awsPrincipalArn: `arn:${partitionOf(region).id}:iam::123456789012:user/Alice`,
    kmsKeyArn: `arn:${partitionOf(region).id}:kms:${region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab`,
    kmsOperation,
    kmsRequestId: randomUUID(),
  }
}

/**
 * Returns requestMetadata that marks a request as sent by one of Latchkey's own tools
 * (core/probe.ts).
 */
export function probeMetadata(kmsOperation: string, region: string): RequestMetadata {
  return { ...requestMetadata(kmsOperation, region), kmsRequestId: probeRequestId() }
}

export function probeHealthBody(kmsOperation = 'KmsHealthCheck'): string {
  return getHealthStatusBody(kmsOperation, probeRequestId())
}

const base64 = (bytes: Buffer | undefined) => bytes?.toString('base64')

export function getKeyMetadataBody(metadata: RequestMetadata): string {
  return JSON.stringify({ requestMetadata: metadata })
}

export function getHealthStatusBody(
  kmsOperation = 'KmsHealthCheck',
  kmsRequestId: string = randomUUID(),
): string {
  return JSON.stringify({ requestMetadata: { kmsRequestId, kmsOperation } })
}

export function encryptBody(metadata: RequestMetadata, input: EncryptArguments): string {
  return JSON.stringify({
    requestMetadata: metadata,
    additionalAuthenticatedData: base64(input.aad),
    plaintext: base64(input.plaintext),
    encryptionAlgorithm: 'AES_GCM',
    ciphertextDataIntegrityValueAlgorithm: input.cdiv === true ? 'SHA_256' : undefined,
  })
}

export function decryptBody(metadata: RequestMetadata, input: DecryptArguments): string {
  return JSON.stringify({
    requestMetadata: metadata,
    additionalAuthenticatedData: base64(input.aad),
    encryptionAlgorithm: 'AES_GCM',
    ciphertext: base64(input.ciphertext),
    ciphertextMetadata: base64(input.ciphertextMetadata),
    initializationVector: base64(input.initializationVector),
    authenticationTag: base64(input.authenticationTag),
  })
}
