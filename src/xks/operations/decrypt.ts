/** Implements Decrypt, which returns the same error no matter what is wrong with the ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import { BackendError } from '../../keys/errors.ts'
import type { BackendKey } from '../../keys/key-backend.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { DecryptInput } from '../decode.ts'
import { XksError } from '../errors.ts'
import type { KeyStore } from '../key-store.ts'
import type { RequestContext } from '../request-context.ts'
import {
  FIRST_VERSION,
  encodeAad,
  encodeSampleAads,
  parseCiphertextMetadata,
} from '../wire-bytes.ts'

type Response = components['schemas']['DecryptResponse']

/**
 * @param request the request context, whose record contains the key version if one was found
 * @throws BackendError; XksError InvalidCiphertextException for metadata that is not ours
 */
export async function decrypt(
  { record, timer, deadline }: RequestContext,
  { accept, isRetired }: Pick<KeyStore, 'accept' | 'isRetired'>,
  key: BackendKey,
  input: DecryptInput,
): Promise<Response> {
  const { keyVersion: version } = record
  if (version === undefined) {
    throw new XksError('InvalidCiphertextException', undefined, { reason: 'METADATA' })
  }
  const aads = resolveLayouts(input, accept)
  if (isRetired(key.keyId, version)) {
    throw new BackendError('VERSION_RETIRED', 'the key version is being retired')
  }
  const { iv, ciphertext, tag } = input
  for (const [i, aad] of aads.entries()) {
    try {
      const opening = key.decrypt({ version, iv, ciphertext, tag, aad, deadline })
      const plaintext = await deadline.race(opening)
      timer.end('backend')
      return { plaintext: plaintext.toString('base64') }
    } catch (error) {
      // If the tag does not match, try the next layout.
      const isOther = error instanceof BackendError && error.code === 'INTEGRITY_FAILURE'
      if (!isOther || i === aads.length - 1) throw error
    }
  }
  throw new TypeError('expected at least one AAD layout')
}

/**
 * Returns the version that a ciphertext names; undefined if its metadata is not recognized. This
 * only compares a few bytes, so the version is also known for requests that are refused early.
 */
export function findVersion(
  { metadata }: DecryptInput,
  accept: KeyStore['accept'],
): number | undefined {
  const own = parseCiphertextMetadata(metadata)
  if (own !== undefined) return own
  return metadata.length === 0 || accept.includes('aws-sample') ? FIRST_VERSION : undefined
}

/**
 * Our ciphertexts always carry metadata. A ciphertext without metadata may come from another proxy
 * that follows the specification and held the same key, imported here as the first version. The tag
 * covers the metadata's length, so our ciphertexts never decrypt without their metadata. If the key
 * store accepts ciphertexts of AWS's sample proxy, its layouts are tried too, but never for
 * ciphertexts with our metadata, so no ciphertext has two meanings.
 */
function resolveLayouts({ aad, metadata }: DecryptInput, accept: KeyStore['accept']) {
  const framed = encodeAad(aad, metadata)
  if (parseCiphertextMetadata(metadata) !== undefined) return [framed]
  const others = accept.includes('aws-sample') ? encodeSampleAads(aad, metadata) : []
  return metadata.length === 0 ? [framed, ...others] : others
}
