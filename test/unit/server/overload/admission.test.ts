/** Who is served in time, and who is told to come again, on a clock turned by hand. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createAdmission } from '../../../../src/server/overload/admission.ts'
import { createBatch } from '../../../../src/server/overload/batch.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

const LIMIT_MS = 80

function create() {
  const clock = new FakeClock()
  let idleMs = 0
  const admission = createAdmission({ clock, idleMs: () => idleMs, limitMs: LIMIT_MS })
  return {
    clock,
    admission,
    /** The event loop has nothing to do for a while. */
    idle(ms: number) {
      clock.advance(ms)
      idleMs += ms
    },
    /** A round that serves so many, each for so long. */
    round(count: number, eachMs: number) {
      admission.endReading()
      admission.startServing()
      clock.advance(count * eachMs)
      admission.endServing(count)
    },
  }
}

void t.test('after an idle moment everybody is admitted, however long it was', (t) => {
  const { admission, idle, round } = create()
  t.ok(admission.admits(), 'the first of all')
  round(1, 1)
  idle(3_600_000)
  t.ok(admission.admits())
  t.notOk(admission.isLate())
  t.end()
})

void t.test('what was read after a long round may be as old as that round', (t) => {
  const { admission, clock, round } = create()
  round(100, 0.7)
  t.ok(admission.admits(), '70 ms')
  clock.advance(11)
  t.notOk(admission.admits(), '81 ms: reading takes time too')
  t.end()
})

void t.test('while an overload lasts, the fewer are served, the more have come', (t) => {
  const { admission, idle, round } = create()
  /** @returns how many of a round are admitted */
  const admitted = (count: number) => {
    let sum = 0
    for (let i = 0; i < count; i++) sum += admission.admits() ? 1 : 0
    round(count, 0.05)
    return sum
  }
  /** Half a second without an idle moment. */
  for (let i = 0; i < 100; i++) t.equal(admitted(100), i < 9 ? 100 : 16, `round ${String(i)}`)

  t.equal(admitted(64), 16, 'the round before was crowded')
  t.equal(admitted(64), 64, 'this one was not')
  t.equal(admitted(128), 128)
  t.equal(admitted(128), 8)
  t.equal(admitted(1000), 8)
  t.equal(admitted(300), 0, 'all are refused while it is so many')

  idle(20)
  admitted(1000)
  for (let i = 0; i < 12; i++) {
    idle(5)
    admitted(100)
  }
  t.equal(admitted(300), 300)
  t.equal(admitted(300), 300, 'there was idle time again')
  t.end()
})

void t.test('a burst after idle time has the whole limit', (t) => {
  const { admission, idle, round } = create()
  idle(1000)
  round(1, 1)
  admission.admits()
  round(60, 1)
  for (let i = 0; i < 100; i++) t.ok(admission.admits(), '60 ms')
  t.end()
})

void t.test('who comes behind a long queue is refused before waiting', (t) => {
  const { admission, idle, round } = create()
  for (let i = 0; i < 30; i++) {
    idle(5)
    round(10, 1)
  }
  idle(5)
  let admitted = 0
  while (admission.admits() && admitted < 1000) {
    admission.enqueue()
    admitted += 1
  }
  t.ok(admitted > 70 && admitted <= 82, `${String(admitted)} of 1 ms each`)
  t.end()
})

void t.test('a body that comes in a later round is as old as that one', (t) => {
  const { admission, clock, idle } = create()
  t.ok(admission.admits())
  admission.endReading()
  clock.advance(10)
  idle(10_000)
  admission.enqueue()
  t.notOk(admission.isLate(), 'its head is not what is waited for')
  t.end()
})

void t.test('a batch refuses what its turn comes too late for', async (t) => {
  const { admission, clock } = create()
  const served: number[] = []
  const refused: number[] = []
  const batch = createBatch<number, string>(admission, {
    make(item) {
      clock.advance(1)
      return String(item)
    },
    send: (item, answer) => {
      t.equal(answer, String(item))
      served.push(item)
    },
    refuse: (item) => refused.push(item),
  })
  const items = Array.from({ length: 200 }, (_, i) => i)
  for (const item of items) batch.add(item)
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
  t.equal(served.length, 96, 'of 1 ms each: 80 are in time, and 16 are begun together')
  t.same([...served, ...refused], items, 'each once, in their order')
  t.end()
})

void t.test(
  'answers are made side by side, and sent in the order in which their requests came',
  (t) => {
    const { admission } = create()
    const steps: string[] = []
    const batch = createBatch<number, number>(admission, {
      make(item) {
        steps.push(`make ${String(item)}`)
        return item === 1 ? undefined : item
      },
      send: (item) => steps.push(`send ${String(item)}`),
      refuse: () => t.fail('none is late'),
    })
    for (let item = 0; item < 3; item++) batch.add(item)
    batch.flush()
    t.same(
      steps,
      ['make 0', 'make 1', 'make 2', 'send 0', 'send 2'],
      'what comes later is not sent here',
    )
    t.end()
  },
)

void t.test('a flush serves what waits, and leaves the time of the round as it is', (t) => {
  const { admission, clock, round } = create()
  round(10, 1)
  const served: number[] = []
  const batch = createBatch<number, true>(admission, {
    make() {
      clock.advance(5)
      return true
    },
    send: (item) => served.push(item),
    refuse: () => t.fail('none is late'),
  })
  for (let i = 0; i < 4; i++) {
    t.ok(admission.admits())
    batch.add(i)
  }
  batch.flush()
  t.same(served, [0, 1, 2, 3])
  clock.advance(49)
  t.ok(admission.admits(), '79 ms')
  clock.advance(2)
  t.notOk(admission.admits(), '81 ms since the sockets were read last')
  t.end()
})

void t.test(
  'a round in which all were refused ends too, and the next one is judged anew',
  async (t) => {
    const { admission, clock, round } = create()
    round(100, 1)
    const batch = createBatch<number, true>(admission, {
      make: () => t.fail('nobody is served') as true,
      send: () => t.fail('nobody is served'),
      refuse: () => t.fail('nor was anybody queued'),
    })
    t.notOk(admission.admits())
    batch.flush()
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    clock.advance(20)
    t.ok(admission.admits(), 'the last round took 20 ms')
  },
)
