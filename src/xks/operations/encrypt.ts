/** Encrypt, in the order that Appendix C prescribes: encrypt, CDIV, and only then decrypt to verify. */
// SPDX-License-Identifier: Apache-2.0
import { type Awaitable, whenThere } from '../../core/awaitable.ts'
import { equalBytes } from '../../core/constant-time.ts'
import type { Deadline } from '../../core/deadline.ts'
import {
  type KeyBackend,
  type KeyDescription,
  type SealedBytes,
  type VerifiedEncryption,
  canVerify,
} from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { EncryptInput } from '../decode.ts'
import { XksError } from '../errors.ts'
import type { StageTimer } from '../request-record.ts'
import { computeCdiv, encodeAad, encodeCiphertextMetadata } from '../wire-bytes.ts'

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
export function encrypt(call: EncryptCall): Awaitable<Response> {
  const metadata = encodeCiphertextMetadata(call.key.currentVersion)
  return call.verify && canVerify(call.backend)
    ? sealInOneGo(call, call.backend, metadata)
    : seal(call, metadata)
}

function toResponse(metadata: Buffer, sealed: SealedBytes, cdiv: Buffer | undefined): Response {
  return {
    ciphertext: sealed.ciphertext.toString('base64'),
    ciphertextMetadata: metadata.toString('base64'),
    initializationVector: sealed.iv.toString('base64'),
    authenticationTag: sealed.tag.toString('base64'),
    ...(cdiv === undefined ? {} : { ciphertextDataIntegrityValue: cdiv.toString('base64') }),
  }
}

async function seal(call: EncryptCall, metadata: Buffer): Promise<Response> {
  const { backend, key, input, deadline } = call
  const version = key.currentVersion
  const framedAad = encodeAad(input.aad, metadata)
  const sealed = await backend.encrypt(key.keyId, version, input.plaintext, framedAad, deadline)
  // Appendix C: before the verifying decrypt, or a bit that flips meanwhile goes unseen.
  const cdiv = input.wantsCdiv ? computeCdiv({ aad: input.aad, metadata, ...sealed }) : undefined
  call.timer.end('backend')
  if (call.verify) {
    const opened = await backend.decrypt(key.keyId, { version, ...sealed }, framedAad, deadline)
    // That it decrypts does not prove that the right bytes were encrypted; that they are equal does.
    if (!equalBytes(opened, input.plaintext)) {
      throw new XksError('InternalException', undefined, { reason: 'VERIFY_MISMATCH' })
    }
    call.timer.end('verify')
  }
  return toResponse(metadata, sealed, cdiv)
}

/** The same in the same order, by a backend that can do it without a way back in between. */
function sealInOneGo(
  { key, input, deadline, timer }: EncryptCall,
  backend: VerifiedEncryption,
  metadata: Buffer,
): Awaitable<Response> {
  const sealing = backend.encryptVerified(
    key.keyId,
    key.currentVersion,
    input.plaintext,
    encodeAad(input.aad, metadata),
    deadline,
    // The CDIV is a hash of just that: `computeCdiv` has the order.
    input.wantsCdiv ? Buffer.concat([input.aad, metadata]) : undefined,
  )
  return whenThere(sealing, (sealed) => {
    timer.end('backend')
    timer.move('backend', 'verify', sealed.verifyMs)
    return toResponse(metadata, sealed, sealed.digest)
  })
}
