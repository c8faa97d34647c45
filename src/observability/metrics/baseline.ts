/** What the cryptography alone costs: AES-256-GCM of a data key in this process, without a proxy. */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'

const DATA_KEY_BYTES = 32
const AAD_BYTES = 128
const ROUNDS = 300

/** Milliseconds by operation: the median of some hundred, after as many to get warm. */
export function measureBaseline(clock: Clock): Readonly<Record<'Encrypt' | 'Decrypt', number>> {
  const key = randomBytes(32)
  const iv = randomBytes(12)
  const aad = randomBytes(AAD_BYTES)
  const plaintext = randomBytes(DATA_KEY_BYTES)
  const encrypt = () => {
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(aad)
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
    return { ciphertext, tag: cipher.getAuthTag() }
  }
  const { ciphertext, tag } = encrypt()
  const decrypt = () => {
    const decipher = createDecipheriv('aes-256-gcm', key, iv).setAAD(aad).setAuthTag(tag)
    return Buffer.concat([decipher.update(ciphertext), decipher.final()])
  }
  return { Encrypt: medianMs(clock, encrypt), Decrypt: medianMs(clock, decrypt) }
}

function medianMs(clock: Clock, work: () => unknown): number {
  for (let i = 0; i < ROUNDS; i++) work()
  const times = Array.from({ length: ROUNDS }, () => {
    const startedAt = clock.monotonic()
    work()
    return clock.monotonic() - startedAt
  })
  return times.sort((a, b) => a - b)[ROUNDS / 2] ?? 0
}
