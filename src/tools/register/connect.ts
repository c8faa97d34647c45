/** ConnectCustomKeyStore, until it is CONNECTED or has failed for a reason that can be told. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { RegistrationError } from './errors.ts'
import { explainConnectionError } from './explanations.ts'
import type { KmsApi } from './kms-api.ts'

export interface ConnectOptions {
  readonly timeoutMs: number
  /** Called with every state that KMS shows, and the milliseconds since the start. */
  readonly onState: (state: string, elapsedMs: number) => void
}

const FIRST_LOOK_MS = 250
const LOOK_EVERY_MS = 5000

/**
 * From whatever state the store is in. One that had FAILED is disconnected first, as KMS demands.
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
      const { meaning, hint } = explainConnectionError(code)
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
      throw new RegistrationError('CONNECT_TIMEOUT', `KMS still says ${state}`, {
        hint: 'KMS goes on by itself; the same command later goes on from there',
      })
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs))
  }
}
