/**
 * Implements Encrypt in the order that Appendix C prescribes: encrypt, compute the CDIV, and only
 * then decrypt to verify.
 */
// SPDX-License-Identifier: Apache-2.0
import { equalBytes } from '../../core/constant-time.ts'
import { checkUsable } from '../../keys/contract.ts'
import {
  type BackendKey,
  type SealedBytes,
  type VerifiedSealedBytes,
  canVerify,
} from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { EncryptInput } from '../decode.ts'
import { XksError } from '../errors.ts'
import type { KeyStore } from '../key-store.ts'
import type { RequestContext } from '../request-context.ts'
import { computeCdiv, encodeAad, encodeCiphertextMetadata } from '../wire-bytes.ts'

type Response = components['schemas']['EncryptResponse']
type Sealed = SealedBytes & Pick<VerifiedSealedBytes, 'digest'>
/** The sealed bytes, the digest if there is one, and the ciphertextMetadata. */
export type EncryptResult = Sealed & { readonly metadata: Buffer }
type Context = Pick<RequestContext, 'record' | 'timer' | 'deadline'>

/**
 * @throws BackendError; XksError InternalException when the result does not decrypt to the input
 */
export async function encrypt(
  request: Context,
  { verifyEveryEncrypt }: Pick<KeyStore, 'verifyEveryEncrypt'>,
  key: BackendKey,
  input: EncryptInput,
): Promise<EncryptResult> {
  request.record.keyVersion = key.currentVersion
  const metadata = encodeCiphertextMetadata(key.currentVersion)
  const verify = input.wantsCdiv || (verifyEveryEncrypt && key.canDecrypt)
  const sealed = await (verify
    ? sealAndVerify(request, key, input, metadata)
    : seal(request, key, input, metadata))
  const { ciphertext, iv, tag, digest } = sealed
  return { ciphertext, iv, tag, digest, metadata }
}

export function toEncryptResponse(result: EncryptResult): Response {
  const { ciphertext, iv, tag, digest, metadata } = result
  return {
    ciphertext: ciphertext.toString('base64'),
    ciphertextMetadata: metadata.toString('base64'),
    initializationVector: iv.toString('base64'),
    authenticationTag: tag.toString('base64'),
    ...(digest && { ciphertextDataIntegrityValue: digest.toString('base64') }),
  }
}

async function seal(
  { timer, deadline }: Context,
  key: BackendKey,
  { plaintext, aad }: EncryptInput,
  metadata: Buffer,
): Promise<Sealed> {
  const version = key.currentVersion
  const sealed = await deadline.race(
    key.encrypt({ version, plaintext, aad: encodeAad(aad, metadata), deadline }),
  )
  timer.end('backend')
  return sealed
}

/**
 * Some keys encrypt and verify in one call. For other keys, this function does both steps in the
 * same order.
 */
async function sealAndVerify(
  request: Context,
  key: BackendKey,
  input: EncryptInput,
  metadata: Buffer,
): Promise<Sealed> {
  const { timer, deadline } = request
  const { plaintext, wantsCdiv } = input
  const version = key.currentVersion
  const aad = encodeAad(input.aad, metadata)
  if (canVerify(key)) {
    // The CDIV is a hash over exactly these parts; `computeCdiv` defines their order.
    const digestPrefix = wantsCdiv ? Buffer.concat([input.aad, metadata]) : undefined
    const sealed = await deadline.race(
      key.encryptVerified({ version, plaintext, aad, deadline, digestPrefix }),
    )
    timer.end('backend')
    timer.move('backend', 'verify', sealed.verifyMs)
    return sealed
  }
  // KMS takes a CDIV as a promise that decryption will work, so no CDIV is returned for a key that
  // cannot decrypt (Appendix C, step 3).
  checkUsable(key, 'canDecrypt')
  const sealed = await deadline.race(key.encrypt({ version, plaintext, aad, deadline }))
  // Appendix C: compute the CDIV before the verifying decrypt; otherwise a bit flip in between
  // would go unnoticed.
  const digest = wantsCdiv ? computeCdiv({ aad: input.aad, metadata, ...sealed }) : undefined
  timer.end('backend')
  const { iv, ciphertext, tag } = sealed
  const opened = await deadline.race(key.decrypt({ version, iv, ciphertext, tag, aad, deadline }))
  // Successful decryption does not prove that the right bytes were encrypted; comparing them does.
  if (!equalBytes(opened, plaintext)) {
    throw new XksError('InternalException', undefined, { reason: 'VERIFY_MISMATCH' })
  }
  timer.end('verify')
  return { iv, ciphertext, tag, digest }
}
