/**
 * Replays REQUESTS normal requests (default: a million) through the tripwire, and measures the time per decision.
 *
 *     npm run build:test && node .test-build/test/by-hand/tripwire-million.js [REQUESTS]
 */
// SPDX-License-Identifier: Apache-2.0
import { createDetector } from '../../src/tripwire/detector.ts'
import { RULES, createRandom, normalLoad } from '../support/tripwire.ts'

const REQUESTS = Number(process.argv[2] ?? 1_000_000)
/** Requests are generated in slices, outside the measured time. */
const SLICE = 100_000

const detector = createDetector({
  ...{ rules: RULES, maxSubjects: 10_000 },
  ...{ learnUntil: () => 1_200_000, learningMs: 0 },
})
const kills: string[] = []
let spentMs = 0
let count = 0
let slice: { observation: Parameters<typeof detector.observe>[0]; at: number }[] = []

function run(): void {
  const before = process.cpuUsage().user
  for (const { observation, at } of slice) {
    detector.observe(observation, at, ({ rule }) => kills.push(rule.name))
  }
  // Processor time is unaffected by other load on the machine.
  spentMs += (process.cpuUsage().user - before) / 1000
  count += slice.length
  slice = []
}

for (const one of normalLoad(REQUESTS, createRandom(11))) {
  slice.push(one)
  if (slice.length === SLICE) run()
}
run()
const micros = ((spentMs * 1000) / count).toFixed(2)
process.stdout.write(
  `${String(count)} normal requests, ${String(RULES.length)} rules: ${String(kills.length)} trips, ${micros} us a request\n`,
)
if (kills.length > 0) process.exitCode = 1
