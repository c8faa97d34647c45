/** Decrypt, with one indistinguishable failure for whatever is wrong with the ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import { type Awaitable, whenThere } from '../../core/awaitable.ts'
import type { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import { BackendError } from '../../keys/errors.ts'
import type { KeyBackend } from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { DecryptInput } from '../decode.ts'
import { XksError } from '../errors.ts'
import type { KeyStore } from '../key-store.ts'
import type { RequestRecord, StageTimer } from '../request-record.ts'
import {
  FIRST_VERSION,
  encodeAad,
  encodeSampleAads,
  parseCiphertextMetadata,
} from '../wire-bytes.ts'

type Response = components['schemas']['DecryptResponse']

export interface DecryptCall {
  readonly backend: KeyBackend
  readonly keyId: ExternalKeyId
  readonly input: DecryptInput
  readonly accept: KeyStore['accept']
  readonly deadline: Deadline
  readonly timer: StageTimer
  readonly record: RequestRecord
}

/** @throws BackendError, and XksError InvalidCiphertextException for metadata that is not ours */
export function decrypt(call: DecryptCall): Awaitable<Response> {
  const { input } = call
  const { version, aads } = resolveLayouts(input, call.accept)
  if (version === undefined) {
    throw new XksError('InvalidCiphertextException', undefined, { reason: 'METADATA' })
  }
  call.record.keyVersion = version
  return whenThere(open(call, version, aads), (plaintext) => {
    call.timer.end('backend')
    return { plaintext: plaintext.toString('base64') }
  })
}

/** Tries one AAD after the other, as long as the tag does not fit. */
function open(
  call: DecryptCall,
  version: number,
  [aad, ...others]: readonly Buffer[],
): Awaitable<Buffer> {
  const { iv, ciphertext, tag } = call.input
  if (aad === undefined) throw new TypeError('nothing to try')
  const retry = (error: unknown) => {
    const isOther = error instanceof BackendError && error.code === 'INTEGRITY_FAILURE'
    if (!isOther || others.length === 0) throw error
    return open(call, version, others)
  }
  try {
    const sealed = { version, iv, ciphertext, tag }
    const opened = call.backend.decrypt(call.keyId, sealed, aad, call.deadline)
    return opened instanceof Promise ? opened.catch(retry) : opened
  } catch (error) {
    return retry(error)
  }
}

/**
 * Ours always carries metadata. Without it, the ciphertext may come from another proxy that follows
 * the specification and held the same key, imported here as the first version; the tag covers the
 * metadata's length, so leaving ours out never decrypts. What AWS's sample proxy made, with metadata
 * of its own or none, is tried where the key store accepts it; metadata of ours never is, so no
 * ciphertext has two meanings.
 */
function resolveLayouts({ aad, metadata }: DecryptInput, accept: DecryptCall['accept']) {
  const framed = encodeAad(aad, metadata)
  const own = parseCiphertextMetadata(metadata)
  if (own !== undefined) return { version: own, aads: [framed] }
  const others = accept.includes('aws-sample') ? encodeSampleAads(aad, metadata) : []
  if (metadata.length === 0) return { version: FIRST_VERSION, aads: [framed, ...others] }
  return { version: others.length === 0 ? undefined : FIRST_VERSION, aads: others }
}
