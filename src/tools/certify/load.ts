/** Encrypts and decrypts with a key on a token, several operations at a time, and checks every plaintext. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { systemClock as clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import type { KeyBackend } from '../../keys/key-backend.ts'
import { codeOf } from '../../keys/suite/suite.ts'
import { promised } from '../../keys/suite/promised-backend.ts'

export interface LoadPlan {
  readonly backend: KeyBackend
  readonly keyId: ExternalKeyId
  /** Number of operations in flight. */
  readonly width: number
  readonly durationMs: number
  /** Time limit for each operation, in milliseconds. */
  readonly limitMs: number
}

export interface LoadReport {
  readonly succeeded: number
  /** Number of decryptions that returned a wrong plaintext. */
  readonly wrong: number
  /** Number of failures by error code. */
  readonly errors: Readonly<Record<string, number>>
  /** Duration of each successful operation in milliseconds, in ascending order. */
  readonly encryptMs: readonly number[]
  readonly decryptMs: readonly number[]
  /** Longest time from a failure to the next success. */
  readonly longestOutageMs: number
  readonly elapsedMs: number
}

const PLAINTEXT_BYTES = 32
const AAD = Buffer.from('additional authenticated data')
/** Pause after a failure, so that an open circuit does not cause a busy loop. */
const PAUSE_MS = 5

/** Encrypts and verifies the ciphertext, as for a request with a CDIV, and then decrypts it. */
export async function runLoad(plan: LoadPlan): Promise<LoadReport> {
  const backend = promised(plan.backend)
  const { keyId } = plan
  const errors: Record<string, number> = {}
  const [encryptMs, decryptMs]: [number[], number[]] = [[], []]
  const totals = { succeeded: 0, wrong: 0, longestOutageMs: 0 }
  const startedAt = clock.monotonic()
  let failedAt: number | undefined
  const deadline = () => new Deadline(clock, plan.limitMs)

  async function roundTrip(): Promise<void> {
    const plaintext = randomBytes(PLAINTEXT_BYTES)
    const encryptedAt = clock.monotonic()
    const { currentVersion: version } = await backend.describe(keyId, deadline())
    const input = { keyId, version, plaintext, aad: AAD }
    const sealed = await backend.encryptVerified({ ...input, deadline: deadline() })
    const decryptedAt = clock.monotonic()
    encryptMs.push(decryptedAt - encryptedAt)
    const { iv, ciphertext, tag } = sealed
    const request = { keyId, version, iv, ciphertext, tag, aad: AAD, deadline: deadline() }
    const opened = await backend.decrypt(request)
    decryptMs.push(clock.monotonic() - decryptedAt)
    if (opened.equals(plaintext)) totals.succeeded += 1
    else totals.wrong += 1
  }

  async function runOne(): Promise<void> {
    while (clock.monotonic() - startedAt < plan.durationMs) {
      try {
        await roundTrip()
        if (failedAt === undefined) continue
        totals.longestOutageMs = Math.max(totals.longestOutageMs, clock.monotonic() - failedAt)
        failedAt = undefined
      } catch (error) {
        const code = codeOf(error)
        errors[code] = (errors[code] ?? 0) + 1
        failedAt ??= clock.monotonic()
        await pause(PAUSE_MS)
      }
    }
  }

  await Promise.all(Array.from({ length: plan.width }, runOne))
  const ascending = (list: number[]) => list.sort((a, b) => a - b)
  return {
    ...{ ...totals, errors, elapsedMs: clock.monotonic() - startedAt },
    ...{ encryptMs: ascending(encryptMs), decryptMs: ascending(decryptMs) },
  }
}

export function pause(ms: number): Promise<void> {
  // This is not a deadline, only a pause before the next attempt.
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** @param sorted numbers in ascending order */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}
