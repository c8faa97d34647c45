/**
 * Marks requests that Latchkey's own tools send: doctor, bench, report, simulate, quickstart. Usage
 * reports omit these requests, because no application made them. A probe has a kmsRequestId that
 * KMS never sends: a version 8 UUID that begins with `latchk` in hex. A caller with KMS's
 * credential could send such an id too, so the id alone must not hide anything that matters: a
 * successful Decrypt counts as a probe only if its AAD also begins with PROBE_AAD. AES-GCM
 * authenticates the AAD, so ciphertexts that KMS made with any other AAD cannot be decrypted with
 * this mark.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomUUID } from 'node:crypto'
import type { Operation, RequestMetadata } from './request.ts'

/** The ASCII codes of `latchk`, then the version of the UUID. */
export const PROBE_ID_PREFIX = '6c617463-686b-8'

export const PROBE_AAD = Buffer.from('latchkey probe; ', 'ascii')

export function probeRequestId(): string {
  return PROBE_ID_PREFIX + randomUUID().slice(PROBE_ID_PREFIX.length)
}

/**
 * @param bytes length of the AAD, at least that of PROBE_AAD. The bytes after PROBE_AAD are random
 */
export function probeAad(bytes: number): Buffer {
  return Buffer.concat([PROBE_AAD, randomBytes(bytes - PROBE_AAD.length)])
}

export function hasProbeId({ kmsRequestId }: Pick<RequestMetadata, 'kmsRequestId'>): boolean {
  return kmsRequestId.startsWith(PROBE_ID_PREFIX)
}

/**
 * Reports whether a request that was not refused is a probe. For a refused request, the id alone
 * decides (`hasProbeId`).
 * @param aad undefined for operations that have no AAD
 */
export function isProbe(
  metadata: Pick<RequestMetadata, 'kmsRequestId'>,
  operation: Operation,
  aad: Buffer | undefined,
): boolean {
  if (!hasProbeId(metadata)) return false
  if (operation !== 'Decrypt') return true
  return aad?.subarray(0, PROBE_AAD.length).equals(PROBE_AAD) === true
}
