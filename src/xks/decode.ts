/** Decodes the signed bytes of a body into a typed request. No later code handles JSON. */
// SPDX-License-Identifier: Apache-2.0
import { isAscii, isUtf8 } from 'node:buffer'
import { parseBase64 } from '../core/base64.ts'
import type { Operation, RequestMetadata } from '../core/request.ts'
import type { ApiSchemas, RequestSchemaName } from '../openapi/schemas.ts'
import type { components } from '../openapi/types.gen.ts'
import { MAX_METADATA_BYTES } from './wire-bytes.ts'
import { XksError } from './errors.ts'

type Schemas = components['schemas']
type WireRequest =
  | Schemas['GetKeyMetadataRequest']
  | Schemas['EncryptRequest']
  | Schemas['DecryptRequest']
  | Schemas['GetHealthStatusRequest']

export interface Limits {
  readonly maxPlaintextBytes: number
  readonly maxAadBytes: number
}

export interface EncryptInput {
  readonly kind: 'encrypt'
  readonly plaintext: Buffer
  /**
   * Empty if the request has no AAD: AES-GCM and the framing treat an empty and an absent AAD
   * alike.
   */
  readonly aad: Buffer
  readonly wantsCdiv: boolean
}

export interface DecryptInput {
  readonly kind: 'decrypt'
  readonly ciphertext: Buffer
  /** Empty if the request has no AAD. */
  readonly metadata: Buffer
  readonly iv: Buffer
  readonly tag: Buffer
  readonly aad: Buffer
}

/** The operation's input apart from the key; `none` for GetHealthStatus and GetKeyMetadata. */
export type Input = EncryptInput | DecryptInput | { readonly kind: 'none' }

const SCHEMA_OF: Readonly<Record<Operation, RequestSchemaName>> = {
  GetKeyMetadata: 'GetKeyMetadataRequest',
  Encrypt: 'EncryptRequest',
  Decrypt: 'DecryptRequest',
  GetHealthStatus: 'GetHealthStatusRequest',
}

const NO_BYTES = Buffer.alloc(0)

export interface DecodedBody {
  readonly metadata: RequestMetadata
  readonly wire: WireRequest
}

/**
 * @throws XksError ValidationException for a wrong media type, text that is not UTF-8 JSON, or a
 * body that does not match its schema in openapi.yaml
 */
export function decodeBody(
  schemas: ApiSchemas,
  operation: Operation,
  contentType: string | undefined,
  body: Buffer,
): DecodedBody {
  checkContentType(contentType)
  const value = parseJson(body)
  const fault = schemas.check(SCHEMA_OF[operation], value)
  if (fault !== undefined) {
    // The pointer and the message come from Latchkey's own schema. A pointer cannot contain the
    // caller's field names, because no schema constrains unknown fields.
    throw new XksError(
      'ValidationException',
      `Invalid request body: ${fault.pointer} ${fault.message}.`,
    )
  }
  const wire = value as WireRequest
  return { wire, metadata: toMetadata(wire.requestMetadata) }
}

/**
 * @throws XksError when a limit is exceeded; the specification's Encrypt and Decrypt sections list
 * the limits
 */
export function decodeInput(operation: Operation, body: DecodedBody, limits: Limits): Input {
  if (operation === 'Encrypt') return decodeEncrypt(body.wire, limits)
  if (operation === 'Decrypt') return decodeDecrypt(body.wire, limits)
  return { kind: 'none' }
}

function decodeEncrypt(wire: WireRequest, limits: Limits): EncryptInput {
  const request = wire as Schemas['EncryptRequest']
  checkAlgorithm(request.encryptionAlgorithm)
  const cdiv = request.ciphertextDataIntegrityValueAlgorithm
  if (cdiv !== undefined && cdiv !== 'SHA_256') {
    throw new XksError(
      'UnsupportedOperationException',
      'The only supported ciphertextDataIntegrityValueAlgorithm is SHA_256.',
    )
  }
  return {
    kind: 'encrypt',
    plaintext: decodeField('plaintext', request.plaintext, limits.maxPlaintextBytes),
    aad: decodeAad(request.additionalAuthenticatedData, limits),
    wantsCdiv: cdiv !== undefined,
  }
}

/**
 * Text that is not Base64 causes a ValidationException. An IV, tag or metadata whose length no
 * Encrypt returns causes an InvalidCiphertextException, like any other wrong ciphertext.
 */
function decodeDecrypt(wire: WireRequest, limits: Limits): DecryptInput {
  const request = wire as Schemas['DecryptRequest']
  checkAlgorithm(request.encryptionAlgorithm)
  const ciphertext = decodeField('ciphertext', request.ciphertext, limits.maxPlaintextBytes)
  const aad = decodeAad(request.additionalAuthenticatedData, limits)
  const iv = decodeField('initializationVector', request.initializationVector)
  const tag = decodeField('authenticationTag', request.authenticationTag)
  const metadata =
    request.ciphertextMetadata === undefined
      ? NO_BYTES
      : decodeField('ciphertextMetadata', request.ciphertextMetadata)
  const fits =
    (iv.length === 12 || iv.length === 16) &&
    tag.length === 16 &&
    metadata.length <= MAX_METADATA_BYTES
  if (!fits) throw new XksError('InvalidCiphertextException', undefined, { reason: 'LENGTHS' })
  return { kind: 'decrypt', ciphertext, metadata, iv, tag, aad }
}

function checkContentType(contentType: string | undefined): void {
  if (contentType === 'application/json') return
  const mediaType = contentType?.split(';', 1)[0]?.trim().toLowerCase()
  if (mediaType !== 'application/json') {
    throw new XksError('ValidationException', 'The content type must be application/json.')
  }
}

/**
 * Maximum number of each of the characters `{`, `[` and `,` in a body. A KMS request has two `{`,
 * no `[` and about ten commas.
 */
const MAX_PARTS = 1000

/**
 * Limits nesting depth and element count before the text reaches the parser and the code that walks
 * the parsed result.
 */
function checkParts(text: string): void {
  for (const mark of ['{', '[', ',']) {
    let at = -1
    for (let left = MAX_PARTS; left >= 0; left--) {
      at = text.indexOf(mark, at + 1)
      if (at < 0) break
    }
    if (at >= 0) {
      throw new XksError(
        'ValidationException',
        'The request body has too many fields, elements or objects.',
      )
    }
  }
}

function parseJson(body: Buffer): unknown {
  // Buffer's own decoder would silently replace invalid bytes, so two different bodies could be
  // decoded to the same text.
  if (!isUtf8(body)) throw new XksError('ValidationException', 'The request body is not UTF-8.')
  const text = body.toString(isAscii(body) ? 'latin1' : 'utf8')
  checkParts(text)
  try {
    return JSON.parse(text)
  } catch {
    // The parser's message quotes the body, which may hold plaintext.
    throw new XksError('ValidationException', 'The request body is not valid JSON.')
  }
}

function checkAlgorithm(algorithm: string): void {
  if (algorithm !== 'AES_GCM') {
    throw new XksError(
      'UnsupportedOperationException',
      'The only supported encryptionAlgorithm is AES_GCM.',
    )
  }
}

function decodeAad(text: string | undefined, limits: Limits): Buffer {
  if (text === undefined) return NO_BYTES
  return decodeField('additionalAuthenticatedData', text, limits.maxAadBytes)
}

function decodeField(name: string, text: string, maxBytes = Infinity): Buffer {
  const bytes = parseBase64(text)
  if (bytes === undefined) {
    throw new XksError('ValidationException', `${name} is not standard Base64 with padding.`)
  }
  if (bytes.length > maxBytes) {
    throw new XksError(
      'UnsupportedOperationException',
      `${name} is longer than the ${String(maxBytes)} bytes that this proxy supports.`,
    )
  }
  return bytes
}

const KNOWN = new Set([
  'awsPrincipalArn',
  'awsSourceVpc',
  'awsSourceVpce',
  'kmsKeyArn',
  'kmsOperation',
  'kmsRequestId',
  'kmsViaService',
])

function toMetadata(wire: WireRequest['requestMetadata']): RequestMetadata {
  let other: Record<string, unknown> | undefined
  for (const key in wire) {
    if (KNOWN.has(key)) continue
    other ??= Object.create(null) as Record<string, unknown>
    other[key] = (wire as Record<string, unknown>)[key]
  }
  return other === undefined ? wire : { ...wire, other }
}
