/** Encrypt, Decrypt, GenerateDataKey and ReEncrypt with KMS keys in external key stores. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { decryptBody, encryptBody } from '../client/requests.ts'
import { type SealedByProxy, encodeBlob, encodeHeader, parseBlob } from './ciphertext-blob.ts'
import { decryptInside, encryptInside, parseOpened, parseSealed } from './double-encryption.ts'
import type { KmsKey, KmsKeys } from './kms-keys.ts'
import type { ProxyConnection } from './proxy-connection.ts'
import { KmsException, toKmsException } from './proxy-failure.ts'
import { type KmsCall, type KmsCaller, cryptographicMetadata } from './request-metadata.ts'

export interface WithContext {
  readonly encryptionContext?: EncryptionContext
}

export interface KmsCryptography {
  /** @param input plaintext of 1 to 4,096 bytes */
  encrypt(
    caller: KmsCaller,
    input: WithContext & { readonly keyId: string; readonly plaintext: Buffer },
  ): Promise<Encrypted>
  decrypt(
    caller: KmsCaller,
    input: WithContext & { readonly ciphertextBlob: Buffer; readonly keyId?: string },
  ): Promise<Decrypted>
  generateDataKey(
    caller: KmsCaller,
    input: WithContext & { readonly keyId: string; readonly numberOfBytes?: number },
  ): Promise<Encrypted & Decrypted>
  generateDataKeyWithoutPlaintext(
    caller: KmsCaller,
    input: WithContext & { readonly keyId: string; readonly numberOfBytes?: number },
  ): Promise<Encrypted>
  reEncrypt(caller: KmsCaller, input: ReEncryptInput): Promise<ReEncrypted>
}

export interface Encrypted {
  readonly ciphertextBlob: Buffer
  /** The ARN of the KMS key. */
  readonly keyId: string
}

export interface Decrypted {
  readonly plaintext: Buffer
  readonly keyId: string
}

export interface ReEncryptInput {
  readonly ciphertextBlob: Buffer
  readonly sourceEncryptionContext?: EncryptionContext
  /** The key under which the ciphertext must have been encrypted. */
  readonly sourceKeyId?: string
  readonly destinationKeyId: string
  readonly destinationEncryptionContext?: EncryptionContext
}

export interface ReEncrypted extends Encrypted {
  readonly sourceKeyId: string
}

const MAX_PLAINTEXT_BYTES = 4096
/** AAD size in bytes that every proxy must accept (XKS 1.0.3, Encrypt). */
const MAX_AAD_BYTES = 8192
const DATA_KEY_BYTES = 32

export function createKmsCryptography(deps: {
  readonly keys: KmsKeys
  /** @throws KmsException when the store is not connected */
  readonly connectionOf: (key: KmsKey) => ProxyConnection
  readonly requestId: () => string
  /** Prefix of the AAD of every request. The prefix marks the request as a probe. */
  readonly aadPrefix?: Buffer
}): KmsCryptography {
  const { aadPrefix = Buffer.alloc(0) } = deps
  async function encryptWith(
    key: KmsKey,
    plaintext: Buffer,
    context: EncryptionContext | undefined,
    call: KmsCall,
  ): Promise<Encrypted> {
    deps.keys.checkUsable(key)
    const connection = deps.connectionOf(key)
    checkDryRun(call)
    const aad = toAad(Buffer.concat([aadPrefix, encodeHeader(key)]), context)
    const inner = encryptInside(key.material, plaintext, aad)
    const answer = await connection.call(
      `/keys/${key.xksKeyId}/encrypt`,
      encryptBody(cryptographicMetadata(call, key.arn), { plaintext: inner, aad, cdiv: true }),
    )
    return { ciphertextBlob: encodeBlob(key, parseSealed(answer, inner, aad)), keyId: key.arn }
  }

  async function decryptWith(
    blob: Buffer,
    context: EncryptionContext | undefined,
    call: KmsCall,
    expectedKeyId?: string,
  ): Promise<Decrypted> {
    const { key, sealed } = openBlob(blob, deps.keys)
    if (expectedKeyId !== undefined && deps.keys.get(expectedKeyId).keyId !== key.keyId) {
      throw new KmsException(
        'IncorrectKeyException',
        'The key ID in the request does not identify a CMK that can perform this operation.',
      )
    }
    deps.keys.checkUsable(key)
    const connection = deps.connectionOf(key)
    checkDryRun(call)
    const aad = toAad(Buffer.concat([aadPrefix, encodeHeader(key)]), context)
    const answer = await connection.call(
      `/keys/${key.xksKeyId}/decrypt`,
      decryptBody(cryptographicMetadata(call, key.arn), { ...withoutEmpty(sealed), aad }),
    )
    const plaintext = decryptInside(key.material, parseOpened(answer, sealed), aad)
    if (plaintext === undefined) {
      // This is the case "Proxy returns an invalid ciphertext" (XKS 1.0.3, KMS Considerations).
      throw new KmsException(
        'KMSInvalidStateException',
        'the bytes that the external key store proxy decrypted differ from those that KMS encrypted',
      )
    }
    return { plaintext, keyId: key.arn }
  }

  /** Runs one KMS call with its own request id and converts proxy failures as KMS does. */
  async function perform<T>(
    caller: KmsCaller,
    kmsOperation: string,
    work: (call: KmsCall) => Promise<T>,
  ): Promise<T> {
    try {
      return await work({
        caller,
        kmsOperation,
        kmsRequestId: caller.requestId ?? deps.requestId(),
      })
    } catch (error) {
      throw toKmsException(error, 'cryptographic')
    }
  }

  return {
    encrypt: (caller, { keyId, plaintext, encryptionContext }) =>
      perform(caller, 'Encrypt', (call) => {
        checkLength(plaintext.length, MAX_PLAINTEXT_BYTES)
        return encryptWith(deps.keys.get(keyId), plaintext, encryptionContext, call)
      }),
    decrypt: (caller, { ciphertextBlob, keyId, encryptionContext }) =>
      perform(caller, 'Decrypt', (call) =>
        decryptWith(ciphertextBlob, encryptionContext, call, keyId),
      ),
    generateDataKey: (caller, { keyId, numberOfBytes = DATA_KEY_BYTES, encryptionContext }) =>
      perform(caller, 'GenerateDataKey', async (call) => {
        checkLength(numberOfBytes, 1024)
        const plaintext = randomBytes(numberOfBytes)
        const key = deps.keys.get(keyId)
        return { ...(await encryptWith(key, plaintext, encryptionContext, call)), plaintext }
      }),
    generateDataKeyWithoutPlaintext: (
      caller,
      { keyId, numberOfBytes = DATA_KEY_BYTES, encryptionContext },
    ) =>
      perform(caller, 'GenerateDataKeyWithoutPlaintext', async (call) => {
        checkLength(numberOfBytes, 1024)
        const plaintext = randomBytes(numberOfBytes)
        try {
          return await encryptWith(deps.keys.get(keyId), plaintext, encryptionContext, call)
        } finally {
          plaintext.fill(0)
        }
      }),
    reEncrypt: (caller, input) =>
      perform(caller, 'ReEncrypt', async (call) => {
        const { sourceEncryptionContext: from, destinationEncryptionContext: to } = input
        const { plaintext, keyId } = await decryptWith(
          input.ciphertextBlob,
          from,
          call,
          input.sourceKeyId,
        )
        const destination = deps.keys.get(input.destinationKeyId)
        return { ...(await encryptWith(destination, plaintext, to, call)), sourceKeyId: keyId }
      }),
  }
}

/** Builds the AAD of both ciphers: the KMS key, the backing key and the caller's encryption context. */
function toAad(header: Buffer, context: EncryptionContext = {}): Buffer {
  const aad = Buffer.concat([header, encodeEncryptionContext(context)])
  if (aad.length > MAX_AAD_BYTES) {
    throw new KmsException(
      'ValidationException',
      `expected additional authenticated data of at most ${String(MAX_AAD_BYTES)} bytes, found ${String(aad.length)}: shorten the encryption context`,
    )
  }
  return aad
}

/** Omits ciphertextMetadata when the proxy returned none. */
function withoutEmpty({ ciphertextMetadata, ...sealed }: SealedByProxy) {
  return ciphertextMetadata.length === 0 ? sealed : { ...sealed, ciphertextMetadata }
}

function openBlob(blob: Buffer, keys: KmsKeys) {
  const parsed = parseBlob(blob)
  if (parsed === undefined) throw notOurs()
  const key = keys.get(parsed.header.keyId)
  if (!key.backingKeyId.equals(parsed.header.backingKeyId)) throw notOurs()
  return { key, sealed: parsed.sealed }
}

function checkDryRun({ caller }: KmsCall): void {
  if (caller.isDryRun !== true) return
  const message = 'The request would have succeeded, but the DryRun option is set.'
  throw new KmsException('DryRunOperationException', message)
}

function notOurs(): KmsException {
  return new KmsException('InvalidCiphertextException', 'the ciphertext was not created by KMS')
}

function checkLength(length: number, most: number): void {
  if (!Number.isInteger(length) || length < 1 || length > most) {
    throw new KmsException(
      'ValidationException',
      `expected 1 to ${String(most)} bytes, found ${String(length)}`,
    )
  }
}

type EncryptionContext = Readonly<Record<string, string>>

/**
 * Encodes pairs sorted by name, each name and value prefixed with its length in two bytes. The
 * caller's order does not matter, and no two contexts have the same encoding. An empty context
 * encodes to no bytes.
 */
export function encodeEncryptionContext(context: EncryptionContext): Buffer {
  const pairs = Object.entries(context)
    .map(([name, value]) => [Buffer.from(name, 'utf8'), Buffer.from(value, 'utf8')] as const)
    .sort(([a], [b]) => Buffer.compare(a, b))
  return Buffer.concat(pairs.flat().map(withLength))
}

function withLength(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}
