/** KMS API operations that encrypt and decrypt. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { KmsException } from '../proxy-failure.ts'
import { type Json, type Operation, base64, bytes, context, optional, text } from './json.ts'

const SYMMETRIC = 'SYMMETRIC_DEFAULT'

export const CRYPTOGRAPHIC_OPERATIONS = {
  Encrypt: async (kms, input, caller) => {
    const { keyId, ciphertextBlob } = await kms.encrypt(caller, {
      keyId: text(input, 'KeyId'),
      plaintext: bytes(input, 'Plaintext'),
      encryptionContext: context(input),
    })
    return { ...toCiphertext(ciphertextBlob, keyId), EncryptionAlgorithm: SYMMETRIC }
  },
  Decrypt: async (kms, input, caller) => {
    const expected = optional(input, 'KeyId')
    const { keyId, plaintext } = await kms.decrypt(caller, {
      ciphertextBlob: bytes(input, 'CiphertextBlob'),
      encryptionContext: context(input),
      ...(expected && { keyId: expected }),
    })
    return { KeyId: keyId, Plaintext: base64(plaintext), EncryptionAlgorithm: SYMMETRIC }
  },
  GenerateDataKey: async (kms, input, caller) => {
    const { keyId, plaintext, ciphertextBlob } = await kms.generateDataKey(caller, {
      keyId: text(input, 'KeyId'),
      numberOfBytes: toLength(input),
      encryptionContext: context(input),
    })
    return { ...toCiphertext(ciphertextBlob, keyId), Plaintext: base64(plaintext) }
  },
  GenerateDataKeyWithoutPlaintext: async (kms, input, caller) => {
    const { keyId, ciphertextBlob } = await kms.generateDataKeyWithoutPlaintext(caller, {
      keyId: text(input, 'KeyId'),
      numberOfBytes: toLength(input),
      encryptionContext: context(input),
    })
    return toCiphertext(ciphertextBlob, keyId)
  },
  ReEncrypt: async (kms, input, caller) => {
    const source = optional(input, 'SourceKeyId')
    const { ciphertextBlob, keyId, sourceKeyId } = await kms.reEncrypt(caller, {
      ciphertextBlob: bytes(input, 'CiphertextBlob'),
      sourceEncryptionContext: context(input, 'SourceEncryptionContext'),
      destinationKeyId: text(input, 'DestinationKeyId'),
      destinationEncryptionContext: context(input, 'DestinationEncryptionContext'),
      ...(source && { sourceKeyId: source }),
    })
    return {
      ...{ ...toCiphertext(ciphertextBlob, keyId), SourceKeyId: sourceKeyId },
      ...{ SourceEncryptionAlgorithm: SYMMETRIC, DestinationEncryptionAlgorithm: SYMMETRIC },
    }
  },
  GenerateRandom: (_kms, input) => {
    const length = Number(input['NumberOfBytes'])
    if (!(length >= 1 && length <= 1024)) {
      throw new KmsException(
        'ValidationException',
        `expected NumberOfBytes from 1 to 1024, found ${String(input['NumberOfBytes'])}`,
      )
    }
    return { Plaintext: base64(randomBytes(length)) }
  },
} as const satisfies Record<string, Operation>

function toCiphertext(blob: Buffer, keyId: string): Json {
  return { CiphertextBlob: base64(blob), KeyId: keyId }
}

function toLength(input: Json): number {
  const spec = input['KeySpec']
  if ((spec === undefined) === (input['NumberOfBytes'] === undefined)) {
    throw new KmsException(
      'ValidationException',
      'Please specify either number of bytes or key spec.',
    )
  }
  if (spec !== undefined) return spec === 'AES_128' ? 16 : 32
  return Number(input['NumberOfBytes'])
}
