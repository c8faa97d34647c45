/**
 * Puts a token under load for minutes, and measures the memory growth of the server and its child processes and the
 * number of open sessions on the token.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { percentile, runMixedLoad, sum } from '../support/pkcs11/mixed-load.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'

export interface SoakPlan {
  readonly seconds: number
  readonly connections: number
}

interface Sample {
  readonly atSeconds: number
  readonly serverMiB: number
  /** Combined memory of all PKCS#11 module processes. */
  readonly modulesMiB: number
  readonly processes: number
  readonly sessions: number
}

const SAMPLES = 60
/** Maximum growth of peak memory from the first half of the soak to the second. */
const MAX_GROWTH = 0.1

function residentMiB(pid: number): number {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? NaN) / 1024
}

export async function soak(t: Test, plan: SoakPlan): Promise<void> {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const { control } = token
  const { hsm: client, running } = await startHsmServer(t, token)
  const startedAt = performance.now()
  const elapsed = () => (performance.now() - startedAt) / 1000
  const samples: Sample[] = []
  const sampling = (async () => {
    while (elapsed() < plan.seconds) {
      await delay((plan.seconds * 1000) / SAMPLES)
      const processes = control.processes()
      samples.push({
        atSeconds: elapsed(),
        serverMiB: residentMiB(running.process.pid ?? 0),
        modulesMiB: processes.reduce((total, { pid }) => total + residentMiB(pid), 0),
        processes: processes.length,
        sessions: control.sessions(),
      })
    }
  })()
  const load = { client, keyId: HSM_KEY, connections: plan.connections, keep: 1000 }
  const report = await runMixedLoad({ ...load, isOver: () => elapsed() >= plan.seconds })
  await sampling

  // Garbage collection turns memory usage into a sawtooth, so compare the peaks.
  const half = Math.floor(samples.length / 2)
  const growth = (of: (sample: Sample) => number) =>
    Math.max(...samples.slice(half).map(of)) / Math.max(...samples.slice(0, half).map(of)) - 1
  const server = growth((sample) => sample.serverMiB)
  const modules = growth((sample) => sample.modulesMiB / sample.processes)
  for (const one of samples.filter((_, i) => i % 6 === 5)) {
    t.comment(
      `${one.atSeconds.toFixed(0)} s: server ${one.serverMiB.toFixed(0)} MiB,`,
      `${String(one.processes)} module processes ${one.modulesMiB.toFixed(0)} MiB,`,
      `${String(one.sessions)} sessions`,
    )
  }
  const ms = (share: number) => percentile(report.latencies, share).toFixed(1)
  t.comment(
    `${String(report.answers)} answers, ${String(sum(report.failures))} failed;`,
    `ms: median ${ms(0.5)}, p99 ${ms(0.99)}, p99.9 ${ms(0.999)};`,
    `growth: server ${(server * 100).toFixed(1)} %, a module process ${(modules * 100).toFixed(1)} %`,
  )
  t.same(report.wrong, [], 'no answer is wrong')
  t.ok(server < MAX_GROWTH && modules < MAX_GROWTH, 'memory is flat')
  const sessions = samples.slice(half).map((sample) => sample.sessions)
  t.equal(Math.max(...sessions), Math.min(...sessions), 'the number of sessions is flat')
}
