/** Generates a data key with KMS and decrypts it, to prove that the whole path works. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { equalBytes } from '../../core/constant-time.ts'
import { RegistrationError } from './errors.ts'
import { isException, type KmsApi } from './kms-api.ts'

export interface RoundTrip {
  readonly generateDataKeyMs: number
  readonly decryptMs: number
}

const CONTEXT = { purpose: 'latchkey register' }
/** KMS is eventually consistent: a new key may be unknown for some seconds. */
const KNOWN_WITHIN_MS = 60_000
const PAUSE_MS = 1000

/** @throws KmsError, RegistrationError KMS_ROUND_TRIP_FAILED */
export async function roundTripByKms(kms: KmsApi, keyId: string): Promise<RoundTrip> {
  const first = await timed(() => generateWhenKnown(kms, keyId))
  const second = await timed(() => kms.decrypt(first.value.ciphertextBlob, CONTEXT))
  const same =
    first.value.plaintext.length === 32 && equalBytes(first.value.plaintext, second.value)
  first.value.plaintext.fill(0)
  second.value.fill(0)
  if (!same) {
    throw new RegistrationError(
      'KMS_ROUND_TRIP_FAILED',
      'Decrypt yielded another data key than was made',
    )
  }
  return { generateDataKeyMs: first.ms, decryptMs: second.ms }
}

async function generateWhenKnown(kms: KmsApi, keyId: string) {
  const until = systemClock.monotonic() + KNOWN_WITHIN_MS
  for (;;) {
    try {
      return await kms.generateDataKey(keyId, CONTEXT)
    } catch (error) {
      const isNew = isException(error, 'NotFoundException')
      if (!isNew || systemClock.monotonic() > until) throw error
      await pause(PAUSE_MS)
    }
  }
}

async function timed<T>(work: () => Promise<T>) {
  const startedAt = systemClock.monotonic()
  const value = await work()
  return { value, ms: systemClock.monotonic() - startedAt }
}
