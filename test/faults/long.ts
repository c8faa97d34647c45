/**
 * Runs the full storm, hang, soak and hedge tests. Run by hand on an idle machine:
 *
 *     node .test-build/test/faults/long.js storm|hang|soak|hedge [seconds]
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { hang } from './hang.ts'
import { hedge } from './hedge.ts'
import { soak } from './soak.ts'
import { storm } from './storm.ts'

const [, , name = '', seconds = '600'] = process.argv
t.setTimeout(0)

const RUNS: Readonly<Record<string, () => void>> = {
  storm: () =>
    void t.test('10,000 mixed requests at 64 connections, sessions dropped every second', (t) => {
      return storm(t, {
        requests: 10_000,
        connections: 64,
        dropEveryMs: 1000,
        maxErrorShare: 0.001,
      })
    }),
  hang: () =>
    void t.test('an HSM that hangs for 10 s', (t) => {
      return hang(t, {
        ...{ hangMs: 10_000, requestsPerSecond: 100, budgetMs: 250, recoveryMs: 2000 },
        isExact: true,
      })
    }),
  hedge: () =>
    void t.test('one of two tokens takes 200 ms for each operation', (t) => {
      return hedge(t, {
        ...{ operations: 5000, perSecond: 100, slowMs: 200, hedgeMs: 30, budgetMs: 60 },
      })
    }),
  soak: () =>
    void t.test(`${seconds} s of load: memory and sessions stay flat`, (t) => {
      t.setTimeout(0)
      return soak(t, { seconds: Number(seconds), connections: 32 })
    }),
}

const run = RUNS[name]
if (run === undefined) throw new Error(`one of ${Object.keys(RUNS).join(', ')}`)
run()
