/** Opens a key on a token through the fault module, and provides inputs for AES-GCM. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { withFaults, type FaultyToken } from './fault-module.ts'
import type { GcmInput } from './module-steps.ts'
import { createSoftHsm, createTokenKeys, openToken } from './tokens.ts'

export const AAD = Buffer.from('bound')

export const input = (
  data: Buffer,
  iv: Buffer = randomBytes(12),
  more: Partial<GcmInput> = {},
): GcmInput => ({
  data,
  iv,
  aad: AAD,
  ...more,
})

/**
 * Creates a SoftHSM token with a key named `key`, opens it through the fault module in a child process, and finds the
 * key.
 */
export async function openWithFaults(t: Test) {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'key' }])
  return { token, control: token.control, ...(await openKey(t, token)) }
}

export async function openKey(t: Test, token: FaultyToken, label = token.label) {
  const { module, slot, session } = await openToken(t, token, label)
  const [key = -1] = await module.step({ step: 'find', session, label: 'key' })
  return { module, slot, session, key }
}

export type Place = Awaited<ReturnType<typeof openKey>>
