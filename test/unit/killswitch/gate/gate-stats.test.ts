/** Tests the gate's statistics and the refusal reason that it reports. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Operation, RequestSubject } from '../../../../src/core/request.ts'
import type { Scope } from '../../../../src/core/scope.ts'
import type { GateErrorCode } from '../../../../src/killswitch/model.ts'
import { createGate, type GateControl } from '../../../../src/killswitch/gate/gate.ts'
import { createRules, enforces, indexRules } from '../../../../src/killswitch/gate/rules.ts'
import type { Switch } from '../../../../src/killswitch/model.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

const LEASE_MS = 2000

function openGate() {
  const clock = new FakeClock()
  const gate = createGate(clock, LEASE_MS)
  gate.apply(createRules([]), 1)
  gate.renew(clock.monotonic())
  return { clock, gate }
}

function switchFor(scope: Scope): Switch {
  const row = { reason: 'r', operator: 'o', createdAt: 0, epoch: 2 }
  return { id: 'one', scope, direction: 'both', ...row }
}

const subject = (operation: Operation, over: Partial<RequestSubject> = {}): RequestSubject => ({
  keyStore: 'a',
  ...(operation === 'GetHealthStatus' ? {} : { keyId: 'k' }),
  operation,
  ...over,
})

const ENCRYPT = subject('Encrypt')

/** For each code, a change that makes the gate refuse an Encrypt request with that code. */
const CAUSES: Readonly<Record<GateErrorCode, (gate: GateControl, clock: FakeClock) => unknown>> = {
  KILLED_ALL: (gate) => {
    gate.apply(createRules([switchFor({ kind: 'all' })]), 2)
  },
  KILLED_STORE: (gate) => {
    gate.apply(createRules([switchFor({ kind: 'key-store', keyStore: 'a' })]), 2)
  },
  KILLED_KEY: (gate) => {
    gate.apply(createRules([switchFor({ kind: 'key', keyStore: 'a', keyId: 'k' })]), 2)
  },
  KILLED_MATCH: (gate) => {
    gate.apply(createRules([switchFor({ kind: 'match', criteria: { viaService: 's3' } })]), 2)
  },
  ACCESS_DEADLINE: (gate) => {
    gate.apply(createRules([], new Map([['a', { monotonicAt: 0, wallAt: 0 }]])), 2)
  },
  LEASE_EXPIRED: (_, clock) => {
    clock.advance(LEASE_MS)
  },
  EPOCH_WENT_BACK: (gate) => {
    gate.refuse('EPOCH_WENT_BACK')
  },
  STORE_LOST: (gate) => {
    gate.refuse('STORE_LOST')
  },
  HIGH_WATER_UNWRITABLE: (gate) => {
    gate.refuse('HIGH_WATER_UNWRITABLE')
  },
  SENTINEL: (gate) => {
    gate.refuse('SENTINEL')
  },
  SIGNAL: (gate) => {
    gate.refuse('SIGNAL')
  },
  STOPPED: (gate) => {
    gate.refuse('STOPPED')
  },
}

for (const [code, cause] of Object.entries(CAUSES)) {
  void t.test(`${code} is refused, counted, and explained in words`, (t) => {
    const { clock, gate } = openGate()
    cause(gate, clock)
    const asked = subject('Encrypt', { metadata: { kmsViaService: 's3' } })
    for (const count of [1, 2]) {
      t.throws(() => gate.check(asked), { code, message: /^[a-zA-Z0-9,' -]{20,}$/ })
      t.same(gate.stats().refusals, { [code]: count })
    }
    t.end()
  })
}

void t.test('reports its state when open and when closed', (t) => {
  const { clock, gate } = openGate()
  clock.advance(300)
  const open = {
    state: 'open',
    epoch: 1,
    switches: 0,
    leaseAgeMs: 300,
    leaseLeftMs: LEASE_MS - 300,
    inFlight: 0,
    lateAnswers: 0,
    refusals: {},
  }
  t.strictSame(gate.stats(), open)
  t.ok(gate.canServe())
  gate.release(gate.check(subject('Decrypt')))
  t.strictSame(gate.stats(), { ...open, lastSuccessAt: clock.now() })
  gate.refuse('SIGNAL')
  t.strictSame(gate.stats(), {
    ...open,
    state: 'refusing',
    reason: 'SIGNAL',
    lastSuccessAt: clock.now(),
  })
  t.notOk(gate.canServe())
  t.end()
})

void t.test('counts requests between the two checks, and remembers the last success', (t) => {
  const { clock, gate } = openGate()
  const [first, second, third] = [gate.check(ENCRYPT), gate.check(ENCRYPT), gate.check(ENCRYPT)]
  t.equal(gate.stats().inFlight, 3)
  gate.abandon(first)
  gate.release(second)
  t.equal(gate.stats().lastSuccessAt, clock.now())
  const last = clock.now()
  clock.advance(5)
  gate.release(gate.check(subject('GetHealthStatus')))
  t.equal(gate.stats().lastSuccessAt, last, 'no data in that one')
  gate.release(gate.check({ ...ENCRYPT, isProbe: true }))
  t.equal(gate.stats().lastSuccessAt, last, "no application's data in that one")
  gate.apply(createRules([switchFor({ kind: 'all' })]), 7)
  t.throws(() => {
    gate.release(third)
  })
  const { inFlight, refusals, epoch, switches, state, reason } = gate.stats()
  t.same(
    { inFlight, refusals, epoch, switches, state, reason },
    {
      ...{ inFlight: 0, refusals: { KILLED_ALL: 1 }, epoch: 7, switches: 1 },
      ...{ state: 'refusing', reason: 'KILLED_ALL' },
    },
  )
  t.end()
})

void t.test('a response handed to the kernel after the lease has ended is counted', (t) => {
  const { clock, gate } = openGate()
  gate.release(gate.check(ENCRYPT))
  clock.advance(LEASE_MS - 1)
  t.ok(gate.wasSentInLease())
  clock.advance(1)
  t.notOk(gate.wasSentInLease())
  t.equal(gate.stats().lateAnswers, 1)
  t.end()
})

void t.test(
  'it is not counted if the lease guard is active, which cuts the connection at the end of the lease',
  (t) => {
    const clock = new FakeClock()
    const gate = createGate(clock, LEASE_MS, true)
    gate.apply(createRules([]), 1)
    gate.renew(clock.monotonic())
    gate.release(gate.check(ENCRYPT))
    clock.advance(LEASE_MS)
    t.ok(gate.wasSentInLease())
    t.equal(gate.stats().lateAnswers, 0)
    t.end()
  },
)

void t.test('the switches of a large store are compared in parts, starting with the first', (t) => {
  const COUNT = 1500
  const loaded = Array.from({ length: COUNT }, (_, i) =>
    switchFor({ kind: 'key', keyStore: 'a', keyId: `key-${String(i)}` }),
  )
  const other = switchFor({ kind: 'key', keyStore: 'a', keyId: 'another' })
  /** Returns the results of successive `enforces` calls while one switch is missing from the rules. */
  const reports = (missing: number) => {
    const { gate } = openGate()
    gate.apply(createRules(loaded.with(missing, other)), 5)
    return [1, 2, 3].map(() => gate.enforces(loaded, 5))
  }
  t.same(reports(0), [false, true, false], 'the first part is compared again after the last')
  t.same(reports(COUNT - 1), [true, false, true])
  const { gate } = openGate()
  gate.advance(6)
  t.equal(gate.stats().epoch, 6)
  t.notOk(gate.enforces(loaded, 6), 'the rules of an earlier epoch are compared, too')
  t.end()
})

void t.test('rules indexed in slices enforce the same switches', async (t) => {
  const scopes: readonly Scope[] = [
    { kind: 'key-store', keyStore: 'b' },
    { kind: 'key', keyStore: 'c', keyId: 'k' },
    { kind: 'match', criteria: { viaService: 's3' } },
  ]
  const switches = scopes.map((scope) => switchFor(scope))
  const rules = await indexRules(switches, new Map([['d', { monotonicAt: 1, wallAt: 2 }]]))
  t.ok(enforces(rules, switches))
  t.notOk(enforces(rules, [...switches, switchFor({ kind: 'all' })]))
  t.equal(rules.refusal({ ...ENCRYPT, keyStore: 'b' }), 'KILLED_STORE')
  t.equal(rules.refusal({ ...ENCRYPT, keyStore: 'c' }), 'KILLED_KEY')
  t.equal(rules.refusal(ENCRYPT), undefined)
  t.same(rules.accessDeadline('d'), { monotonicAt: 1, wallAt: 2 })
})
