/** Measures hedging latency with two tokens, one of them slow. Run by hand: see long.ts. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { enforceContract } from '../../src/keys/contract.ts'
import { decrypt, encrypt, keyId } from '../../src/keys/suite/fixture.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { percentile } from '../support/pkcs11/mixed-load.ts'
import { createSoftHsm, createTokenKeys, openToken } from '../support/pkcs11/tokens.ts'

export interface HedgePlan {
  readonly operations: number
  readonly perSecond: number
  /** Delay added to each operation on the slow token, in milliseconds. */
  readonly slowMs: number
  readonly hedgeMs: number
  /** Maximum latency at the 99.9th percentile, in milliseconds. */
  readonly budgetMs: number
}

const LABELS = ['one', 'two'] as const
const KEY = keyId('key')

export async function hedge(t: Test, plan: HedgePlan): Promise<void> {
  const token = await withFaults(t, await createSoftHsm(t, LABELS))
  const material = randomBytes(32)
  for (const label of LABELS) await createTokenKeys(t, token, [{ label: 'key', material }], label)
  const keys = await openKeysOn(t, token, {
    tokens: LABELS.map((label) => ({ label, pin: new Secret(token.pin) })),
    sessions: { min: 4, max: 4 },
    deadlines: { operationMs: 1000, startMs: 60_000, stuckMs: 1000 },
    hedge: { afterMs: plan.hedgeMs },
  })
  const store = { backend: promised(enforceContract(keys.backend('', NO_RECORDS))) } as never
  while (keys.stats().tokens.some(({ sessions }) => sessions.open < 4)) await pause(20)
  const sealed = await encrypt(store, KEY, randomBytes(32))

  const { module } = await openToken(t, token, 'one')
  const slow = (await module.step({ step: 'tokens' })).find(({ label }) => label === 'one')
  await module.close()
  token.control.only(slow?.slotId)
  for (const name of ['C_Encrypt', 'C_Decrypt'])
    token.control.plan(name, { latencyMs: plan.slowMs })

  const latencies: number[] = []
  const running: Promise<void>[] = []
  const startedAt = performance.now()
  for (let i = 0; i < plan.operations; i++) {
    const due = startedAt + (i * 1000) / plan.perSecond
    await pause(Math.max(0, due - performance.now()))
    const operation =
      i % 2 === 0 ? decrypt(store, KEY, sealed) : encrypt(store, KEY, randomBytes(32))
    running.push(operation.then(() => void latencies.push(performance.now() - due)))
  }
  await Promise.all(running)
  latencies.sort((a, b) => a - b)
  const ms = (share: number) => percentile(latencies, share).toFixed(1)
  const hedges = keys.stats().tokens.map(({ id, hedges: { first, other, none } }) => {
    return `${id}: ${String(first)} first, ${String(other)} other, ${String(none)} none`
  })
  t.comment(`p50 ${ms(0.5)}, p99 ${ms(0.99)}, p99.9 ${ms(0.999)} ms; hedged: ${hedges.join('; ')}`)
  t.ok(percentile(latencies, 0.999) < plan.budgetMs, `p99.9 under ${String(plan.budgetMs)} ms`)
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
