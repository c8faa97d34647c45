/**
 * Measures the first use of many keys on a token with slow calls. MIN and MAX limit the number of sessions. Run by
 * hand:
 *
 *     node .test-build/test/faults/many-keys.js KEYS MIN MAX
 */
// SPDX-License-Identifier: Apache-2.0
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { openBackend } from '../../src/app/key-backends.ts'
import { systemClock } from '../../src/core/clock.ts'
import { enforceContract } from '../../src/keys/contract.ts'
import { encrypt, keyId } from '../../src/keys/suite/fixture.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { backendConfig } from '../support/pkcs11/backend-config.ts'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { createSoftHsm, createTokenKeys, type TestToken } from '../support/pkcs11/tokens.ts'

export interface ManyKeysOptions {
  /** Existing token that already has the keys. Some tokens take minutes to create 10,000 keys. */
  readonly token?: TestToken
  readonly keys: number
  /** Number of keys to use for the first time, sequentially. */
  readonly uses: number
  readonly perSecond: number
  readonly callMs: number
  readonly sessions: { readonly min: number; readonly max: number }
  /** Whether to wait until all of the token's keys have been read, which takes minutes. */
  readonly waitsForRun: boolean
}

export interface ManyKeysResult {
  readonly startMs: number
  /** Milliseconds from startup until all keys had been read; undefined if `waitsForRun` is false. */
  readonly runMs: number | undefined
  readonly failures: number
  /** Latencies in ascending order. */
  readonly latenciesMs: readonly number[]
  readonly progress: readonly object[]
}

export async function measureFirstUses(t: Test, options: ManyKeysOptions): Promise<ManyKeysResult> {
  const token = await withFaults(t, options.token ?? (await createSoftHsm(t)))
  const labels = Array.from({ length: options.keys }, (_, i) => `key-${String(i)}`)
  const missing = options.token === undefined ? labels : []
  await createTokenKeys(
    t,
    token,
    missing.map((label) => ({ label })),
  )
  token.control.latency(options.callMs)
  const progress: object[] = []
  const startedAt = systemClock.monotonic()
  const keys = await openBackend({
    config: backendConfig(token, {
      sessions: options.sessions,
      deadlines: { operationMs: 150, startMs: 20_000, stuckMs: 1000 },
    }),
    clock: systemClock,
    logger: {
      info: (message, fields) => progress.push({ message, ...fields }),
      warn: () => undefined,
      error: () => undefined,
    },
    selfTest: { plaintextBytes: 4300, aadBytes: 8200 },
  })
  t.teardown(() => {
    keys.close()
  })
  const startMs = systemClock.monotonic() - startedAt
  const backend = promised(enforceContract(keys.backend('', NO_RECORDS)))
  const isRead = () =>
    progress.some((line) => 'message' in line && String(line.message).includes('read all keys'))
  while (options.waitsForRun && !isRead()) await pause(50)
  const runMs = options.waitsForRun ? systemClock.monotonic() - startedAt : undefined
  // Wait until every worker has opened its session, as in a server that has been running for a few seconds.
  while ((keys.stats().tokens[0]?.sessions.open ?? 0) < options.sessions.min) await pause(50)

  const latenciesMs: number[] = []
  let failures = 0
  const using: Promise<void>[] = []
  const beganAt = systemClock.monotonic()
  for (let i = 0; i < options.uses; i++) {
    const at = beganAt + (i * 1000) / options.perSecond
    await pause(Math.max(0, at - systemClock.monotonic()))
    const label = labels[(i * 7919) % labels.length] ?? ''
    using.push(
      encrypt({ backend } as never, keyId(label), Buffer.alloc(32)).then(
        () => void latenciesMs.push(systemClock.monotonic() - at),
        () => void (failures += 1),
      ),
    )
  }
  await Promise.all(using)
  return { startMs, runMs, failures, latenciesMs: latenciesMs.sort((a, b) => a - b), progress }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? NaN
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  t.setTimeout(0)
  const keys = Number(process.argv[2] ?? 10_000)
  for (const waitsForRun of [false, true]) {
    void t.test(`first uses ${waitsForRun ? 'after' : 'during'} the first run`, async (t) => {
      const [min = 12, max = 12] = process.argv.slice(3).map(Number)
      const common = { keys, uses: Math.min(1000, keys), perSecond: 100, callMs: 5 }
      const { latenciesMs: ms, ...rest } = await measureFirstUses(t, {
        ...common,
        ...{ sessions: { min, max }, waitsForRun },
      })
      const found = { p50: quantile(ms, 0.5), p99: quantile(ms, 0.99), max: ms.at(-1) }
      t.comment(JSON.stringify({ ...rest, ...found }))
    })
  }
}
