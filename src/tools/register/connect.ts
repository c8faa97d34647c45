/** Runs ConnectCustomKeyStore and waits until the store is CONNECTED or has failed with a known reason. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { RegistrationError, explainConnectionError } from './explanations.ts'
import type { KmsApi } from './kms-api.ts'

export interface ConnectOptions {
  readonly timeoutMs: number
  /**
   * Called with every state that KMS reports, and the time since the call to `connectStore`, in
   * milliseconds.
   */
  readonly onState: (state: string, elapsedMs: number) => void
}

const FIRST_LOOK_MS = 250
const LOOK_EVERY_MS = 5000

/**
 * Connects a key store, regardless of its state. A store in the state FAILED is disconnected first,
 * as KMS requires.
 * @throws KmsError, RegistrationError CONNECT_FAILED, CONNECT_TIMEOUT
 */
export async function connectStore(
  kms: KmsApi,
  id: string,
  { timeoutMs, onState }: ConnectOptions,
): Promise<void> {
  const startedAt = systemClock.monotonic()
  let hasAsked = false
  for (let pauseMs = FIRST_LOOK_MS; ; pauseMs = Math.min(LOOK_EVERY_MS, pauseMs * 1.5)) {
    const { ConnectionState: state = '', ConnectionErrorCode: code = '' } = await kms.getStore(id)
    const elapsedMs = systemClock.monotonic() - startedAt
    onState(state, elapsedMs)
    if (state === 'CONNECTED') return
    if (state === 'FAILED' && hasAsked) {
      const { meaning, hint } = explainConnectionError(code, kms.region)
      throw new RegistrationError('CONNECT_FAILED', `KMS could not connect: ${code}: ${meaning}`, {
        hint,
      })
    }
    if (state === 'FAILED') await kms.disconnectStore(id)
    if (state === 'DISCONNECTED') {
      await kms.connectStore(id)
      hasAsked = true
    }
    if (state === 'CONNECTING') hasAsked = true
    if (elapsedMs > timeoutMs) {
      throw new RegistrationError('CONNECT_TIMEOUT', `KMS still reports the state ${state}`, {
        hint: 'KMS continues on its own; run the same command again later',
      })
    }
    await pause(pauseMs)
  }
}
