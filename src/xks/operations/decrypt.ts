/** Decrypt, with one indistinguishable failure for whatever is wrong with the ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyBackend } from '../../backend/key-backend.ts'
import type { Deadline } from '../../base/deadline.ts'
import type { ExternalKeyId } from '../../base/ids.ts'
import type { components } from '../../openapi/types.gen.ts'
import { encodeAad } from '../aad.ts'
import { FIRST_VERSION, parseCiphertextMetadata } from '../ciphertext-metadata.ts'
import type { DecryptInput } from '../decode.ts'
import { XksError } from '../errors.ts'
import type { RequestRecord, StageTimer } from '../request-record.ts'

type Response = components['schemas']['DecryptResponse']

export interface DecryptCall {
  readonly backend: KeyBackend
  readonly keyId: ExternalKeyId
  readonly input: DecryptInput
  readonly deadline: Deadline
  readonly timer: StageTimer
  readonly record: RequestRecord
}

/** @throws BackendError, and XksError InvalidCiphertextException for metadata that is not ours */
export async function decrypt(call: DecryptCall): Promise<Response> {
  const { input } = call
  const version = resolveVersion(input.metadata)
  if (version === undefined) {
    throw new XksError('InvalidCiphertextException', undefined, { reason: 'METADATA' })
  }
  call.record.keyVersion = version
  const plaintext = await call.backend.decrypt(
    call.keyId,
    { version, iv: input.iv, ciphertext: input.ciphertext, tag: input.tag },
    encodeAad(input.aad, input.metadata),
    call.deadline,
  )
  call.timer.mark('backend')
  return { plaintext: plaintext.toString('base64') }
}

/**
 * Ours always carries metadata. Without it, the ciphertext may come from another proxy that follows
 * the specification and held the same key, imported here as the first version; the tag covers the
 * metadata's length, so leaving ours out never decrypts.
 */
function resolveVersion(metadata: Buffer): number | undefined {
  return metadata.length === 0 ? FIRST_VERSION : parseCiphertextMetadata(metadata)
}
