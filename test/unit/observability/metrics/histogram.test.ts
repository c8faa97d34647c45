/** Tests that our histogram, which does not allocate per observation, counts exactly as prom-client's does. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import { Histogram as PromHistogram, Registry } from 'prom-client'
import t from 'tap'
import { createMetricsRegistry } from '../../../../src/observability/metrics/registry.ts'
import {
  BUCKETS_SECONDS,
  Histogram,
} from '../../../../src/observability/metrics/request-metrics.ts'

const NAME = 'latchkey_request_duration_seconds'
const LABELS = { key_store: 'demo', operation: 'Encrypt' }

const numbersOf = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith(NAME))
    .map((line) => {
      const [, suffix, value] = /^[a-z_]+_seconds_(bucket|sum|count)\{.*\} (\S+)$/.exec(line) ?? []
      return [suffix, /le="([^"]+)"/.exec(line)?.[1], Number(Number(value).toFixed(9))]
    })
    .sort()

void t.test('the same text for the same observations', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.double({ min: 0, max: 600, noNaN: true })), async (times) => {
      const ours = new Histogram()
      const registers = [new Registry()]
      const theirs = new PromHistogram({
        ...{ name: NAME, help: 'x', registers },
        labelNames: Object.keys(LABELS),
        buckets: [...BUCKETS_SECONDS],
      })
      for (const ms of times) {
        ours.observe(ms)
        theirs.observe(LABELS, ms / 1000)
      }
      const registry = createMetricsRegistry()
      registry.add({ latchkey_request_duration_seconds: () => ours.values(NAME, LABELS) })
      t.same(numbersOf(await registry.text()), numbersOf(await (registers[0]?.metrics() ?? '')))
    }),
    { numRuns: 40 },
  )
})
