/** Tests both gate checks, every scope and direction, and the gate's report. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createGate } from '../../../../src/killswitch/gate/gate.ts'
import type { Operation, RequestSubject } from '../../../../src/core/request.ts'
import { type Rules, createRules, enforces } from '../../../../src/killswitch/gate/rules.ts'
import type { Direction, Scope } from '../../../../src/core/scope.ts'
import type { Switch } from '../../../../src/killswitch/model.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

const LEASE_MS = 2000
const OPERATIONS = ['GetKeyMetadata', 'Encrypt', 'Decrypt', 'GetHealthStatus'] as const

function openGate() {
  const clock = new FakeClock()
  const gate = createGate(clock, LEASE_MS)
  gate.apply(createRules([]), 1)
  gate.renew(clock.monotonic())
  return { clock, gate }
}

function switchFor(scope: Scope, direction: Direction = 'both'): Switch {
  const id = Math.random().toString(16)
  return { id, scope, direction, reason: 'r', operator: 'o', createdAt: 0, epoch: 2 }
}

const subject = (operation: Operation, over: Partial<RequestSubject> = {}): RequestSubject => ({
  keyStore: 'a',
  ...(operation === 'GetHealthStatus' ? {} : { keyId: 'k' }),
  operation,
  ...over,
})

const ENCRYPT = subject('Encrypt')

void t.test('is closed until it has rules and a lease', (t) => {
  const clock = new FakeClock()
  const gate = createGate(clock, LEASE_MS)
  const shut = () => t.throws(() => gate.check(ENCRYPT), { code: 'LEASE_EXPIRED' })
  shut()
  gate.renew(clock.monotonic())
  shut()
  const other = createGate(clock, LEASE_MS)
  other.apply(createRules([]), 0)
  t.throws(() => other.check(ENCRYPT), { code: 'LEASE_EXPIRED' })
  gate.apply(createRules([]), 0)
  gate.release(gate.check(ENCRYPT))
  t.end()
})

void t.test('a request that passed is refused at its release, once it is killed', (t) => {
  const { gate } = openGate()
  const pass = gate.check(ENCRYPT)
  t.same([pass.epoch, gate.allows(pass)], [1, true])
  gate.apply(createRules([switchFor({ kind: 'all' })]), 2)
  t.notOk(gate.allows(pass))
  t.throws(
    () => {
      gate.release(pass)
    },
    { code: 'KILLED_ALL' },
  )
  t.throws(() => gate.check(ENCRYPT), { code: 'KILLED_ALL' })
  t.equal(gate.stats().lastSuccessAt, undefined)
  t.end()
})

void t.test('a request that passed is refused at its release, once the lease is over', (t) => {
  const { clock, gate } = openGate()
  const pass = gate.check(ENCRYPT)
  clock.advance(LEASE_MS)
  t.throws(
    () => {
      gate.release(pass)
    },
    { code: 'LEASE_EXPIRED' },
  )
  t.throws(() => gate.check(ENCRYPT), { code: 'LEASE_EXPIRED' })
  gate.renew(clock.monotonic())
  gate.release(gate.check(ENCRYPT))
  t.end()
})

const KILLED: readonly (readonly [Scope, Direction, Partial<Record<Operation, string>>])[] = [
  [{ kind: 'all' }, 'both', Object.fromEntries(OPERATIONS.map((one) => [one, 'KILLED_ALL']))],
  [{ kind: 'all' }, 'decrypt', { Decrypt: 'KILLED_ALL' }],
  [{ kind: 'all' }, 'encrypt', { Encrypt: 'KILLED_ALL' }],
  [
    { kind: 'key-store', keyStore: 'a' },
    'both',
    Object.fromEntries(OPERATIONS.map((one) => [one, 'KILLED_STORE'])),
  ],
  [{ kind: 'key-store', keyStore: 'a' }, 'decrypt', { Decrypt: 'KILLED_STORE' }],
  [{ kind: 'key-store', keyStore: 'a' }, 'encrypt', { Encrypt: 'KILLED_STORE' }],
  [{ kind: 'key-store', keyStore: 'b' }, 'both', {}],
  [
    { kind: 'key', keyStore: 'a', keyId: 'k' },
    'both',
    { Encrypt: 'KILLED_KEY', Decrypt: 'KILLED_KEY' },
  ],
  [{ kind: 'key', keyStore: 'a', keyId: 'k' }, 'decrypt', { Decrypt: 'KILLED_KEY' }],
  [{ kind: 'key', keyStore: 'a', keyId: 'other' }, 'both', {}],
  [{ kind: 'key', keyStore: 'b', keyId: 'k' }, 'both', {}],
]

void t.test('each scope and direction stops the requests that it covers, at both checks', (t) => {
  for (const [scope, direction, expected] of KILLED) {
    for (const operation of OPERATIONS) {
      const { gate } = openGate()
      const pass = gate.check(subject(operation))
      gate.apply(createRules([switchFor(scope, direction)]), 2)
      const name = `${JSON.stringify(scope)} ${direction} ${operation}`
      const code = expected[operation]
      const isKey = scope.kind === 'key' && scope.keyId === 'k' && scope.keyStore === 'a'
      // A key that has been blocked in the meantime must not be reported as ENABLED.
      const late = isKey && direction === 'both' && operation === 'GetKeyMetadata'
      if (code === undefined) {
        const again = gate.check(subject(operation))
        t.equal(
          again.isKeyBlocked,
          late || (isKey && direction === 'both' && again.subject.keyId === 'k'),
          name,
        )
        gate.release(again)
        t.equal(gate.allows(pass), !late, name)
      } else {
        t.throws(() => gate.check(subject(operation)), { code }, name)
        t.throws(
          () => {
            gate.release(pass)
          },
          { code },
          name,
        )
      }
    }
  }
  t.end()
})

void t.test('two switches on one scope add up', (t) => {
  const { gate } = openGate()
  const scope = { kind: 'key', keyStore: 'a', keyId: 'k' } as const
  gate.apply(createRules([switchFor(scope, 'decrypt'), switchFor(scope, 'encrypt')]), 2)
  t.throws(() => gate.check(subject('Encrypt')), { code: 'KILLED_KEY' })
  t.throws(() => gate.check(subject('Decrypt')), { code: 'KILLED_KEY' })
  t.notOk(gate.check(subject('GetKeyMetadata')).isKeyBlocked)
  t.end()
})

void t.test('switches for everything add up; one for a key ignores requests without a key', (t) => {
  const { gate } = openGate()
  gate.apply(
    createRules([switchFor({ kind: 'all' }, 'decrypt'), switchFor({ kind: 'all' }, 'encrypt')]),
    2,
  )
  t.throws(() => gate.check(subject('Encrypt')), { code: 'KILLED_ALL' })
  t.throws(() => gate.check(subject('Decrypt')), { code: 'KILLED_ALL' })
  gate.apply(createRules([switchFor({ kind: 'key', keyStore: 'a', keyId: 'k' })]), 3)
  for (const operation of OPERATIONS) {
    t.notOk(gate.check({ keyStore: 'a', operation }).isKeyBlocked, operation)
  }
  t.end()
})

void t.test('a switch on metadata stops the matching requests, in its key store', (t) => {
  const { gate } = openGate()
  const criteria = { account: '111122223333' }
  const metadata = { awsPrincipalArn: 'arn:aws:iam::111122223333:user/a' }
  gate.apply(createRules([switchFor({ kind: 'match', criteria, keyStore: 'a' }, 'decrypt')]), 2)
  t.throws(() => gate.check(subject('Decrypt', { metadata })), { code: 'KILLED_MATCH' })
  gate.check(subject('Encrypt', { metadata }))
  gate.check(subject('Decrypt'))
  gate.check(subject('Decrypt', { metadata: {} }))
  gate.check(subject('Decrypt', { metadata, keyStore: 'b' }))
  gate.apply(createRules([switchFor({ kind: 'match', criteria })]), 3)
  for (const operation of ['Encrypt', 'Decrypt', 'GetKeyMetadata'] as const) {
    t.throws(() => gate.check(subject(operation, { metadata, keyStore: 'b' })), {
      code: 'KILLED_MATCH',
    })
  }
  // Health checks pass regardless of their metadata.
  gate.check(subject('GetHealthStatus', { metadata, keyStore: 'b' }))
  t.end()
})

void t.test("a dead man's switch closes by whichever clock reaches the deadline first", (t) => {
  const { clock, gate } = openGate()
  const deadline = { monotonicAt: clock.monotonic() + 1000, wallAt: clock.now() + 1000 }
  gate.apply(createRules([], new Map([['a', deadline]])), 2)
  const pass = gate.check(ENCRYPT)
  clock.advance(999)
  t.ok(gate.allows(pass))
  clock.jumpWallTime(1)
  t.throws(() => gate.check(ENCRYPT), { code: 'ACCESS_DEADLINE' })
  clock.jumpWallTime(-5000)
  t.ok(gate.allows(pass))
  clock.advance(1)
  t.throws(() => gate.check(subject('GetHealthStatus')), { code: 'ACCESS_DEADLINE' })
  t.throws(
    () => {
      gate.release(pass)
    },
    { code: 'ACCESS_DEADLINE' },
  )
  gate.check(subject('Encrypt', { keyStore: 'b' }))
  t.end()
})

void t.test('standing reasons refuse everything until the last one is removed', (t) => {
  const { gate } = openGate()
  const pass = gate.check(ENCRYPT)
  gate.refuse('SENTINEL')
  gate.refuse('EPOCH_WENT_BACK')
  t.throws(() => gate.check(subject('GetHealthStatus')), { code: 'SENTINEL' })
  t.throws(
    () => {
      gate.release(pass)
    },
    { code: 'SENTINEL' },
  )
  gate.accept('SENTINEL')
  t.throws(() => gate.check(ENCRYPT), { code: 'EPOCH_WENT_BACK' })
  gate.accept('EPOCH_WENT_BACK')
  gate.release(gate.check(ENCRYPT))
  t.end()
})

void t.test('a key that is blocked in the meantime is not reported as ENABLED', (t) => {
  const { gate } = openGate()
  const pass = gate.check(subject('GetKeyMetadata'))
  gate.apply(createRules([switchFor({ kind: 'key', keyStore: 'a', keyId: 'k' })]), 2)
  t.throws(
    () => {
      gate.release(pass)
    },
    { code: 'KILLED_KEY' },
  )
  t.end()
})

void t.test('rules that differ from those of the store are detected', (t) => {
  const { gate } = openGate()
  const key = switchFor({ kind: 'key', keyStore: 'a', keyId: 'k' })
  const loaded = [
    key,
    switchFor({ kind: 'all' }, 'encrypt'),
    switchFor({ kind: 'key-store', keyStore: 'b' }),
  ]
  gate.apply(createRules(loaded), 5)
  t.ok(gate.enforces(loaded, 5))
  t.ok(gate.enforces([], 6), 'another epoch is taken up by the poller')
  t.notOk(gate.enforces([key], 5), 'one too many')
  t.notOk(gate.enforces([...loaded, switchFor({ kind: 'all' })], 5), 'one too few')
  for (const [i, one] of loaded.entries()) {
    const other = switchFor({ kind: 'key', keyStore: 'other', keyId: 'x' })
    gate.apply(createRules(loaded.with(i, other)), 5)
    t.notOk(gate.enforces(loaded, 5), `another one in the place of ${one.scope.kind}`)
  }
  t.end()
})

void t.test('rules that allow one of its operations do not enforce a switch', (t) => {
  /** Returns rules that refuse the given operations. `isKeyBlocked` sets whether they report the key as blocked. */
  const refusing = (operations: readonly Operation[], isKeyBlocked = false): Rules => ({
    size: 1,
    refusal: ({ operation, keyStore }) =>
      operations.includes(operation) && typeof keyStore === 'string' ? 'KILLED_KEY' : undefined,
    isKeyBlocked: () => isKeyBlocked,
    accessDeadline: () => undefined,
  })
  const scope = { kind: 'key', keyStore: 'a', keyId: 'k' } as const
  const loaded = (direction: Direction) => [switchFor(scope, direction)]
  const needed: Readonly<Record<Direction, readonly Operation[]>> = {
    both: ['Encrypt', 'Decrypt', 'GetKeyMetadata'],
    decrypt: ['Decrypt'],
    encrypt: ['Encrypt'],
  }
  for (const direction of ['both', 'decrypt', 'encrypt'] as const) {
    t.ok(enforces(refusing(needed[direction]), loaded(direction)), direction)
    for (const one of needed[direction]) {
      const others = OPERATIONS.filter((operation) => operation !== one)
      t.notOk(enforces(refusing(others), loaded(direction)), `${direction} without ${one}`)
    }
  }
  t.ok(enforces(refusing(needed.both), [switchFor({ kind: 'all' })]))
  t.ok(enforces(refusing(['Encrypt', 'Decrypt'], true), loaded('both')), 'metadata say so')
  t.notOk(
    enforces(refusing(['GetKeyMetadata'], true), loaded('decrypt')),
    'Decrypt has no such way',
  )
  t.end()
})

void t.test('switches on metadata are counted, not evaluated', (t) => {
  const loaded = [switchFor({ kind: 'match', criteria: { account: '111122223333' } })]
  t.ok(enforces(createRules(loaded), loaded))
  t.notOk(enforces(createRules([]), loaded))
  t.end()
})
