/**
 * Tests the backend while sessions are dropped repeatedly under load: for a few seconds in `npm run check`, and for
 * longer when run by hand.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { findLost, percentile, runMixedLoad, sum } from '../support/pkcs11/mixed-load.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'

export interface StormPlan {
  readonly requests: number
  readonly connections: number
  readonly dropEveryMs: number
  /** Maximum share of requests that KMS would have to retry. */
  readonly maxErrorShare: number
  /** Whether to use deadlines that a busy machine can meet (default: KMS's own deadlines). */
  readonly isPatient?: boolean
}

const TIMEOUT_MS = 120_000

/** A request whose session was dropped has to log in again, which is slow on a busy machine. */
const PATIENT = {
  backend: { deadlines: { operation: '8s' } },
  config: { limits: { requestDeadline: '10s' } },
}

export async function storm(t: Test, plan: StormPlan): Promise<void> {
  t.setTimeout(TIMEOUT_MS)
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const { control } = token
  const server = await startHsmServer(t, token, plan.isPatient === true ? PATIENT : {})
  const { hsm: client } = server
  const warm = { client, keyId: HSM_KEY, connections: plan.connections, requests: 500 }
  t.same((await runMixedLoad(warm)).wrong, [], 'nothing is wrong before')

  const drops = setInterval(() => {
    control.dropSessions()
  }, plan.dropEveryMs)
  const startedAt = performance.now()
  const report = await runMixedLoad({ ...warm, requests: plan.requests })
  const seconds = (performance.now() - startedAt) / 1000
  clearInterval(drops)

  const dropped = control.processes().reduce((total, one) => total + one.drops, 0)
  const failed = sum(report.failures)
  const logins = control.log().filter((call) => call.function === 'C_Login')
  const loginMs = percentile(
    logins.map((call) => call.ms).sort((a, b) => a - b),
    0.5,
  )
  const ms = (share: number) => percentile(report.latencies, share).toFixed(1)
  t.comment(
    `${String(report.answers)} answers in ${seconds.toFixed(1)} s, ${String(dropped)} drops seen,`,
    `${String(failed)} failed ${JSON.stringify([...report.failures])};`,
    `ms: median ${ms(0.5)}, p99 ${ms(0.99)}, p99.9 ${ms(0.999)}, max ${ms(1)}; C_Login ${loginMs.toFixed(1)}`,
  )
  t.ok(dropped > 0, 'sessions were dropped')
  t.equal(report.answers, plan.requests, 'every request was answered')
  t.same(report.wrong, [], 'no answer is wrong')
  t.ok(failed <= plan.requests * plan.maxErrorShare, `${String(failed)} errors`)
  t.same(await findLost(client, HSM_KEY, report.kept), [], 'every ciphertext decrypts')
  t.equal(server.running.process.exitCode, null, 'it is the same process')
}
