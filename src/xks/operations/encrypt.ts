/** Encrypt, in the order that Appendix C prescribes: encrypt, CDIV, and only then decrypt to verify. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyBackend, KeyDescription } from '../../backend/key-backend.ts'
import { equalBytes } from '../../base/constant-time.ts'
import type { Deadline } from '../../base/deadline.ts'
import type { components } from '../../openapi/types.gen.ts'
import { encodeAad } from '../aad.ts'
import { computeCdiv } from '../cdiv.ts'
import { encodeCiphertextMetadata } from '../ciphertext-metadata.ts'
import type { EncryptInput } from '../decode.ts'
import { XksError } from '../errors.ts'
import type { StageTimer } from '../request-record.ts'

type Response = components['schemas']['EncryptResponse']

export interface EncryptCall {
  readonly backend: KeyBackend
  readonly key: KeyDescription
  readonly input: EncryptInput
  readonly verify: boolean
  readonly deadline: Deadline
  readonly timer: StageTimer
}

/** @throws BackendError, and XksError InternalException when the result does not decrypt to the input */
export async function encrypt(call: EncryptCall): Promise<Response> {
  const { backend, key, input, deadline } = call
  const version = key.currentVersion
  const metadata = encodeCiphertextMetadata(version)
  const framedAad = encodeAad(input.aad, metadata)
  const sealed = await backend.encrypt(key.keyId, version, input.plaintext, framedAad, deadline)
  // Appendix C: before the verifying decrypt, or a bit that flips meanwhile goes unseen.
  const cdiv = input.wantsCdiv
    ? computeCdiv({ aad: input.aad, metadata, ...sealed }).toString('base64')
    : undefined
  call.timer.mark('backend')
  if (call.verify) {
    const opened = await backend.decrypt(key.keyId, { version, ...sealed }, framedAad, deadline)
    // That it decrypts does not prove that the right bytes were encrypted; that they are equal does.
    if (!equalBytes(opened, input.plaintext)) {
      throw new XksError('InternalException', undefined, { reason: 'VERIFY_MISMATCH' })
    }
    call.timer.mark('verify')
  }
  return {
    ciphertext: sealed.ciphertext.toString('base64'),
    ciphertextMetadata: metadata.toString('base64'),
    initializationVector: sealed.iv.toString('base64'),
    authenticationTag: sealed.tag.toString('base64'),
    ...(cdiv === undefined ? {} : { ciphertextDataIntegrityValue: cdiv }),
  }
}
