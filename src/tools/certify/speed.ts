/** Measures how fast a token starts, finds keys, encrypts and decrypts. */
// SPDX-License-Identifier: Apache-2.0
import type { TokenWorkplace } from '../../app/token-workplace.ts'
import { systemClock as clock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import { pause, quantile, runLoad } from './load.ts'
import { toKeyId } from './contract.ts'

export interface SpeedReport {
  /** Time to load the module, log in and pass the self-test. */
  readonly startMs: number
  readonly createMs: number
  /** Duration of a key's first use, which searches for the key by name. */
  readonly findMs: number
  readonly rows: readonly SpeedRow[]
}

export interface SpeedRow {
  readonly sessions: number
  /** Number of operations in flight. */
  readonly width: number
  /** A round trip is one Encrypt with a verifying decryption and one Decrypt, of 32 bytes each. */
  readonly roundTripsPerSecond: number
  readonly encryptMs: { readonly p50: number; readonly p99: number }
  readonly decryptMs: { readonly p50: number; readonly p99: number }
  readonly errors: Readonly<Record<string, number>>
}

const LIMIT_MS = 10_000
const SAMPLES = 5
const OPEN_MS = 60_000
const POLL_MS = 20

/**
 * @param most maximum number of sessions
 * @throws BackendError; `signal.reason` after an abort
 */
export async function measureSpeed(
  workplace: TokenWorkplace,
  plan: { readonly durationMs: number; readonly most: number },
  signal: AbortSignal,
  onRow: (sessions: number) => void,
): Promise<SpeedReport> {
  const rows: SpeedRow[] = []
  let first = { startMs: NaN, createMs: NaN, findMs: NaN }
  for (let sessions = 1; sessions <= plan.most; sessions *= 2) {
    signal.throwIfAborted()
    onRow(sessions)
    const startedAt = clock.monotonic()
    const token = await workplace.open(
      {
        sessions: { min: sessions, max: sessions },
        deadlines: { operationMs: LIMIT_MS, startMs: OPEN_MS, stuckMs: LIMIT_MS },
      },
      'speed',
    )
    try {
      const startMs = clock.monotonic() - startedAt
      const keys = token.keyStore(`keys-${String(sessions)}`)
      const times: { create: number[]; find: number[] } = { create: [], find: [] }
      for (let i = 0; i < (sessions === 1 ? SAMPLES : 1); i++) {
        const keyId = toKeyId(`key-${String(i)}`)
        const createdAt = clock.monotonic()
        await keys.administration.createKey({ keyId, canEncrypt: true, canDecrypt: true })
        times.create.push(clock.monotonic() - createdAt)
        await token.settle()
        const foundAt = clock.monotonic()
        await keys.backend.find(keyId, new Deadline(clock, LIMIT_MS))
        times.find.push(clock.monotonic() - foundAt)
      }
      if (sessions === 1)
        first = { startMs, createMs: median(times.create), findMs: median(times.find) }
      const until = clock.monotonic() + OPEN_MS
      while (token.sessions() < sessions && clock.monotonic() < until) await pause(POLL_MS)
      const width = sessions === 1 ? 1 : sessions * 2
      const { backend } = keys
      const load = { backend, keyId: toKeyId('key-0'), width, limitMs: LIMIT_MS }
      const { succeeded, elapsedMs, encryptMs, decryptMs, errors } = await runLoad({
        ...load,
        durationMs: plan.durationMs,
      })
      rows.push({
        ...{ sessions: token.sessions(), width, errors },
        roundTripsPerSecond: (succeeded * 1000) / elapsedMs,
        encryptMs: { p50: quantile(encryptMs, 0.5), p99: quantile(encryptMs, 0.99) },
        decryptMs: { p50: quantile(decryptMs, 0.5), p99: quantile(decryptMs, 0.99) },
      })
      if (token.sessions() < sessions) break
    } finally {
      await token.close()
    }
  }
  return { ...first, rows }
}

function median(times: number[]): number {
  return quantile(
    times.sort((a, b) => a - b),
    0.5,
  )
}
