/**
 * Tests admission control with a clock that the test controls: which requests are served or shed, and which connections
 * are closed.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  type Conduct,
  createAdmission,
  HTTP2_SHARE,
  newConduct,
} from '../../../../src/server/overload/admission.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

const LIMIT_MS = 80
const DEADLINE_MS = 200
/** Minimum number of requests that each round serves. */
const FIRST = 8

/** Waits until the current event loop turn and the immediates it scheduled have run. */
const endOfTurn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

function create() {
  const clock = new FakeClock()
  let idleMs = 0
  let eachMs = 0
  const served: number[] = []
  const refused: number[] = []
  const admission = createAdmission<number, string>(
    { clock, idleMs: () => idleMs, limitMs: LIMIT_MS, deadlineMs: DEADLINE_MS },
    {
      make(item) {
        clock.advance(eachMs)
        return String(item)
      },
      send: (item) => served.push(item),
      refuse: (item) => refused.push(item),
    },
  )
  const all = { clock, admission, served, refused, idle, ask, round }
  return all

  /** Simulates an event loop that is idle for the given time. */
  function idle(ms: number) {
    clock.advance(ms)
    idleMs += ms
  }
  /** Submits requests, each on its own connection, and returns how many are admitted. */
  function ask(count: number, make: () => Conduct = signer): number {
    let admitted = 0
    for (let i = 0; i < count; i++) {
      if (admission.judge(make(), false) !== 'serve') continue
      admitted += 1
      admission.serve(i)
    }
    return admitted
  }
  /** Runs a round of requests that take `ms` each. @returns the number admitted */
  async function round(count: number, ms: number): Promise<number> {
    eachMs = ms
    const admitted = ask(count)
    await endOfTurn()
    return admitted
  }
}

const signer = (): Conduct => ({ ...newConduct(), hasSigned: true })

void t.test('a single request is served whatever came before it', async (t) => {
  const { admission, clock, idle, round } = create()
  t.equal(await round(1, 1), 1, 'the first of all')
  idle(3_600_000)
  t.equal(await round(1, 1), 1, 'after idle time')
  clock.advance(150)
  t.equal(await round(FIRST, 1), FIRST, 'after a pause')
  await round(300, 0.5)
  clock.advance(10_000)
  t.equal(await round(FIRST, 1), FIRST, 'after a crowded round and a pause')
  // The head of a request alone starts a round, which ends with the current turn of the event loop.
  admission.judge(newConduct(), false)
  await endOfTurn()
  clock.advance(10_000)
  t.equal(await round(FIRST, 1), FIRST, 'after half a request')
})

void t.test('after an uncrowded round, a pause may last for the whole deadline', async (t) => {
  const { clock, round } = create()
  await round(60, 0.01)
  clock.advance(150)
  t.equal(await round(60, 0.01), 60)
  clock.advance(DEADLINE_MS + 1)
  t.equal(await round(60, 0.01), FIRST, 'too late for more than the first')
})

void t.test('a request read after a crowded round may be as old as that round', async (t) => {
  const { clock, round } = create()
  await round(100, 0.7)
  t.equal(await round(20, 0), 20, '70 ms')
  await round(100, 0.7)
  clock.advance(11)
  t.equal(await round(20, 0), FIRST, '81 ms: reading takes time too')
})

void t.test('during an overload, fewer requests are served the more arrive', async (t) => {
  const { idle, round } = create()
  /** Simulate an event loop that is busy for half a second without any idle time. */
  for (let i = 0; i < 100; i++)
    t.equal(await round(100, 0.05), i < 10 ? 100 : 16, `round ${String(i)}`)
  t.equal(await round(64, 0.05), 16, 'the round before was crowded')
  t.equal(await round(64, 0.05), 64, 'this one was not')
  t.equal(await round(128, 0.05), 128)
  t.equal(await round(128, 0.05), 8)
  t.equal(await round(1000, 0.05), 8)
  t.equal(await round(300, 0.05), FIRST, 'hardly any are served while it is so many')
  idle(20)
  for (let i = 0; i < 12; i++) {
    await round(100, 0.05)
    idle(5)
  }
  t.equal(await round(300, 0.05), 300)
  t.equal(await round(300, 0.05), 300, 'there was idle time again')
})

void t.test('a request behind a long queue is refused before it waits', async (t) => {
  const { idle, round } = create()
  for (let i = 0; i < 30; i++) {
    idle(5)
    await round(10, 1)
  }
  idle(5)
  const admitted = await round(1000, 1)
  t.ok(admitted > 190 && admitted <= DEADLINE_MS + 2, `${String(admitted)} of 1 ms each`)
})

void t.test('a pause during a round does not make the following requests look slow', async (t) => {
  const { idle, round } = create()
  await round(1, 150)
  idle(5)
  t.equal(await round(100, 0.1), 100)
})

void t.test(
  'requests that waited past the limit in the queue are refused, each once',
  async (t) => {
    const { admission, served, refused, round } = create()
    await round(100, 0.1)
    served.length = 0
    await round(0, 1)
    const items = Array.from({ length: 200 }, (_, i) => i)
    for (const item of items) admission.serve(item)
    await endOfTurn()
    t.equal(served.length, 80, 'of 1 ms each, 16 begun together')
    t.same([...served, ...refused], items, 'in their order')
  },
)

void t.test('shedding a request does not delay the admitted ones', (t) => {
  const { admission, served } = create()
  t.equal(admission.judge(signer(), false), 'serve')
  admission.serve(1)
  const flooder: Conduct = { ...newConduct(), strikes: 50 }
  for (let i = 0; i < FIRST; i++) admission.judge(flooder, false)
  t.same(served, [])
  t.equal(admission.judge(flooder, false), 'shed')
  t.same(served, [1])
  t.end()
})

void t.test('a connection without a good signature has a share of a round', async (t) => {
  const { admission, clock, idle } = create()
  const verdicts = (conduct: Conduct, count: number) => {
    const counts = { serve: 0, shed: 0, close: 0 }
    for (let i = 0; i < count; i++) counts[admission.judge(conduct, false)] += 1
    return counts
  }
  idle(5)
  const session = newConduct(HTTP2_SHARE)
  t.same(verdicts(session, 128), { serve: 128, shed: 0, close: 0 }, 'HTTP/2 has 128 streams')
  await endOfTurn()
  clock.advance(1)
  t.same(
    verdicts(newConduct(), 32),
    { serve: 32, shed: 0, close: 0 },
    'a new caller may be a good one',
  )
  const flooders = Array.from({ length: 8 }, () => ({ ...newConduct(), strikes: 1 }))
  for (const flooder of flooders)
    t.same(verdicts(flooder, 20), { serve: 8, shed: 8, close: 4 }, 'without idle time')
  t.same(verdicts(signer(), 50), { serve: 50, shed: 0, close: 0 }, 'their crowd is not its own')
  await endOfTurn()
  idle(5)
  const first = newConduct()
  t.same(verdicts(first, 64), { serve: 32, shed: 32, close: 0 }, 'nothing bad is known of it')
  t.equal(admission.judge(first, true), 'close', 'health included')
  for (let i = 0; i < 8; i++) admission.note(first, 'bad')
  await endOfTurn()
  idle(5)
  t.same(verdicts(first, 20), { serve: 8, shed: 8, close: 4 }, 'it is known')
})

void t.test(
  'responses to requests without a valid signature count until a valid one arrives',
  (t) => {
    const { admission } = create()
    const conduct = newConduct()
    for (let i = 0; i < 99; i++) t.notOk(admission.note(conduct, 'bad'))
    t.notOk(admission.note(conduct, 'good'))
    for (let i = 0; i < 99; i++) t.notOk(admission.note(conduct, 'bad'))
    for (let i = 0; i < 200; i++) t.notOk(admission.note(conduct, 'unchecked'), 'not its fault')
    t.ok(admission.note(conduct, 'bad'), 'the hundredth in a row')
    t.end()
  },
)

void t.test('a stranger whose requests come too late is closed, too', (t) => {
  const { admission } = create()
  const conduct = newConduct()
  for (let i = 0; i < 99; i++) t.notOk(admission.note(conduct, 'unchecked'))
  t.ok(admission.note(conduct, 'unchecked'))
  t.end()
})

void t.test('a stranger that is always shed is closed, without a bad request', async (t) => {
  const { admission, idle } = create()
  const conduct = newConduct()
  const count = { serve: 0, shed: 0, close: 0 }
  while (count.close === 0) {
    for (let i = 0; i < 50; i++) count[admission.judge(conduct, false)] += 1
    await endOfTurn()
    idle(5)
  }
  t.equal(count.shed, 99)
  t.equal(count.shed, 99)
})

void t.test('health and ping are never shed, and a flood of them is closed', async (t) => {
  const { admission, clock, round } = create()
  for (let i = 0; i < 20; i++) await round(1000, 0.05)
  clock.advance(10_000)
  t.equal(await round(100, 0.05), FIRST)
  for (let i = 0; i < 1000; i++) t.equal(admission.judge(newConduct(), true), 'serve')
  t.equal(admission.judge(signer(), true), 'serve')
  const flooder = newConduct()
  const served = (): boolean => {
    const isServed = admission.judge(flooder, true) === 'serve'
    if (isServed) admission.note(flooder, 'not required')
    return isServed
  }
  for (let i = 0; i < 9; i++) t.ok(served())
  t.notOk(served(), 'a flood of them is shed like any other')
  let verdict = 'shed'
  for (let i = 0; verdict === 'shed' && i < 200; i++) verdict = admission.judge(flooder, true)
  t.equal(verdict, 'close')
  const prober = newConduct()
  for (let i = 0; i < 300; i++) {
    clock.advance(1000)
    t.equal(admission.judge(prober, true), 'serve')
    t.notOk(admission.note(prober, 'not required'))
    await endOfTurn()
  }
})

void t.test(
  'responses are prepared concurrently, and sent in the order of their requests',
  async (t) => {
    const steps: string[] = []
    const admission = createAdmission<number, number>(
      { clock: new FakeClock(), idleMs: () => 0, limitMs: LIMIT_MS, deadlineMs: DEADLINE_MS },
      {
        make(item) {
          steps.push(`make ${String(item)}`)
          return item === 1 ? undefined : item
        },
        send: (item) => steps.push(`send ${String(item)}`),
        refuse: () => t.fail('none is late'),
      },
    )
    for (let item = 0; item < 3; item++) admission.serve(item)
    await endOfTurn()
    t.same(
      steps,
      ['make 0', 'make 1', 'make 2', 'send 0', 'send 2'],
      'what comes later is not sent',
    )
  },
)
