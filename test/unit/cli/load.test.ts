/**
 * Tests open-loop load: when latency measurement starts, which requests are abandoned, and how the rate search works.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { WireAnswer } from '../../../src/kms/client/connection.ts'
import { EndpointError } from '../../../src/kms/client/dial.ts'
import type { LoadConnection } from '../../../src/tools/bench/connections.ts'
import { createLatencies } from '../../../src/tools/bench/histogram.ts'
import { KMS_MIX, type RequestSource, parseMix, spread } from '../../../src/tools/bench/mix.ts'
import {
  type LoadResult,
  findHighestRate,
  holds,
  runOpenLoop,
} from '../../../src/tools/bench/open-loop.ts'

const source: RequestSource = {
  next: () => ({ operation: 'health', request: { target: '/', headers: {}, body: '' } }),
}

const answer = (status: number, body: unknown = {}): WireAnswer => ({
  status,
  headers: {},
  text: JSON.stringify(body),
  body,
  firstByteMs: 1,
  totalMs: 1,
})

const lane = (send: () => Promise<WireAnswer>): LoadConnection => ({ send, close: () => undefined })

const after = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

void t.test(
  'latency includes the wait for a connection, from when the request was due',
  async (t) => {
    const slow = lane(async () => {
      await after(20)
      return answer(200)
    })
    const result = await runOpenLoop({ connections: [slow], source, rate: 100, durationMs: 500 })
    t.equal(result.due, 50)
    // On a busy machine, the last requests may be abandoned.
    const given = Object.values(result.errors).reduce((sum, count) => sum + count, 0)
    t.ok(result.succeeded > 0)
    t.equal(result.succeeded + given, 50)
    // A request is sent every 10 ms and served every 20 ms, so the last one waits for half of the run.
    t.ok(result.latencyMs.p99 > 400, `p99 ${String(result.latencyMs.p99)} ms`)
    const service = result.serviceMs.health
    t.ok(service !== undefined && service.p50 < result.latencyMs.p50)
    t.ok(result.achieved < 60, `${String(result.achieved)}/s`)
  },
)

void t.test('unsuccessful responses and lost connections are counted by name', async (t) => {
  let count = 0
  const bad = lane(() => {
    count += 1
    if (count % 2 === 0) return Promise.resolve(answer(429, { errorName: 'ThrottlingException' }))
    return Promise.reject(new EndpointError('ENDPOINT_NO_ANSWER', 'gone'))
  })
  const result = await runOpenLoop({ connections: [bad], source, rate: 200, durationMs: 100 })
  t.equal(result.due, 20)
  t.equal(result.succeeded, 0)
  t.same(result.errors, { '429 "ThrottlingException"': 10, ENDPOINT_NO_ANSWER: 10 })
  t.notOk(holds(result))
})

void t.test(
  'a request that waits for seconds is abandoned, and its wait still counts',
  async (t) => {
    const stuck = lane(async () => {
      await after(2500)
      return answer(200)
    })
    const result = await runOpenLoop({ connections: [stuck], source, rate: 20, durationMs: 200 })
    t.equal(result.due, 4)
    t.equal(result.succeeded, 1)
    t.equal(result.unsent, 3)
    t.equal(result.latencyMs.count, 4)
    t.ok(result.latencyMs.p50 > 1900)
  },
)

void t.test('a client that lags reports its own lag', async (t) => {
  const hog = lane(() => {
    const until = performance.now() + 15
    while (performance.now() < until);
    return Promise.resolve(answer(200))
  })
  const result = await runOpenLoop({ connections: [hog], source, rate: 200, durationMs: 500 })
  t.ok(result.isClientLimited)
  t.ok(result.clientLagMs.p99 > 5)
})

void t.test('progress is reported during the run', async (t) => {
  const seen: number[] = []
  const quick = lane(() => Promise.resolve(answer(200)))
  const plan = { connections: [quick], source, rate: 50, durationMs: 1500 }
  await runOpenLoop({ ...plan, onProgress: ({ answered }) => seen.push(answered) })
  t.ok(seen.length >= 1 && seen.every((answered) => answered > 0))
})

void t.test(
  'percentiles have three significant digits, and the curve ends with the samples',
  (t) => {
    const latencies = createLatencies()
    t.same(latencies.summary(), { count: 0, mean: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 })
    t.same(latencies.curve(), [])
    for (let i = 1; i <= 1000; i++) latencies.record(i / 10)
    const { count, p50, p99, p999, max } = latencies.summary()
    t.equal(count, 1000)
    for (const [value, expected] of [
      [p50, 50],
      [p99, 99],
      [p999, 99.9],
      [max, 100],
    ] as const) {
      t.ok(
        Math.abs(value - expected) / expected < 0.002,
        `${String(value)} is about ${String(expected)}`,
      )
    }
    const curve = latencies.curve()
    t.equal(curve[0]?.percentile, 0)
    t.ok((curve.at(-1)?.percentile ?? 0) > 99.8 && (curve.at(-1)?.percentile ?? 100) <= 99.9)
    latencies.record(1e9)
    t.ok(latencies.summary().max <= 60_100, 'values are capped at one minute')
    t.end()
  },
)

void t.test('a mix is spread evenly, and an invalid mix is refused', (t) => {
  t.same(spread({ decrypt: 2, encrypt: 2 }), ['decrypt', 'encrypt', 'decrypt', 'encrypt'])
  const order = spread(KMS_MIX)
  t.equal(order.length, 100)
  t.equal(order.filter((one) => one === 'decrypt').length, 70)
  t.equal(order.filter((one) => one === 'health').length, 1)
  t.same(parseMix('decrypt=70, encrypt=30'), { decrypt: 70, encrypt: 30 })
  for (const text of ['', 'decrypt', 'decrypt=-1', 'sign=1', 'decrypt=0']) {
    t.throws(() => parseMix(text), { code: 'USAGE' }, text)
  }
  t.end()
})

void t.test(
  'the highest rate is searched between a sustained rate and one that is not',
  async (t) => {
    const at =
      (limit: number, client = false) =>
      (rate: number) => {
        const p99 = rate <= limit ? 10 : 300
        return Promise.resolve({
          rate,
          latencyMs: { p99 },
          errors: {},
          unsent: 0,
          isClientLimited: client,
        } as unknown as LoadResult)
      }
    const options = { startRate: 100, maxRate: 10_000, precision: 0.05 }
    const found = await findHighestRate(options, at(1234))
    t.ok(found.highest <= 1234 && found.highest > 1234 * 0.94, String(found.highest))
    t.equal(found.limitedBy, 'proxy')
    t.equal((await findHighestRate(options, at(1234, true))).limitedBy, 'client')
    t.match(await findHighestRate(options, at(1e9)), { highest: 6400, limitedBy: 'maximum' })
    t.equal((await findHighestRate(options, at(0))).highest, 0)
  },
)
