/** Tests which requests a token's queue dispatches, and which it abandons. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { type QueuedRequest, RequestQueue } from '../../../src/keys/pkcs11/pool/queue.ts'
import { FakeClock } from '../../support/fake-clock.ts'

const SERVICE_MS = 40

function setUp(t: Test) {
  const clock = new FakeClock()
  const expired: QueuedRequest[] = []
  const queue = new RequestQueue(clock, (request) => expired.push(request))
  t.teardown(() => {
    queue.stop()
  })
  const add = (leftMs: number): QueuedRequest => {
    const now = clock.monotonic()
    const request: QueuedRequest = {
      ...{ kind: 1, parts: [], flags: 0, queuedAt: now, endsAt: now + leftMs, attempts: 0 },
      ...{ resolve: () => undefined, reject: () => undefined },
      ...{ worker: undefined, isOver: false },
    }
    queue.watch(request)
    queue.push(request)
    return request
  }
  return { queue, expired, add }
}

void t.test('a request that cannot be finished in time makes room for the next one', (t) => {
  const { queue, expired, add } = setUp(t)
  const [late, first, second] = [add(SERVICE_MS - 1), add(SERVICE_MS), add(10 * SERVICE_MS)]
  t.equal(queue.shift(SERVICE_MS), first)
  t.strictSame(expired, [late])
  t.ok(late.isOver, 'its caller has been told')
  t.equal(queue.shift(SERVICE_MS), second)
  t.equal(queue.shift(SERVICE_MS), undefined)
  t.end()
})

void t.test('a finished request is skipped, and expires only once', (t) => {
  const { queue, expired, add } = setUp(t)
  const [over, next] = [add(SERVICE_MS - 1), add(SERVICE_MS)]
  queue.close(over)
  t.equal(queue.shift(SERVICE_MS), next)
  t.strictSame(expired, [])
  t.end()
})
