/**
 * Tests that uses are reserved on disk before they occur, so that the count never falls below the actual number of
 * uses.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_USES, BLOCK_USES, UseCounter } from '../../../../src/keys/software/use-counter.ts'

interface Disk {
  total: number
  requests: number
}

/**
 * Creates a counter on a simulated disk that keeps its contents across counters. The disk responds once `gate`
 * resolves.
 */
function counterOn(
  disk: Disk,
  { blockUses = 4, maxUses = 100, gate = () => Promise.resolve() } = {},
) {
  const warned: number[] = []
  const counter = new UseCounter({
    blockUses,
    maxUses,
    onNearLimit: (total) => warned.push(total),
    async reserve(count) {
      disk.requests += 1
      await gate()
      const granted = Math.max(0, Math.min(count, maxUses - disk.total))
      disk.total += granted
      return { granted, total: disk.total }
    },
  })
  return { counter, warned }
}

const EXHAUSTED = { name: 'BackendError', code: 'KEY_EXHAUSTED', hint: 'rotate the key' }

void t.test('the limit is that of NIST SP 800-38D for random IVs', (t) => {
  t.equal(MAX_USES, 4_294_967_296)
  t.ok(BLOCK_USES < MAX_USES / 1000, 'a block that a crash gives up is little')
  t.end()
})

void t.test('no use is granted before it is on the disk', async (t) => {
  const disk = { total: 0, requests: 0 }
  const { counter } = counterOn(disk)
  t.equal(counter.tryTake(), false)
  await counter.take()
  t.equal(disk.total, 4)
})

void t.test('at each moment the disk records at least as many uses as were taken', async (t) => {
  const disk = { total: 0, requests: 0 }
  const { counter } = counterOn(disk, { maxUses: 1000 })
  for (let taken = 1; taken <= 200; taken++) {
    await counter.take()
    if (disk.total < taken) t.fail(`${String(taken)} taken, ${String(disk.total)} counted`)
  }
  t.ok(disk.total >= 200 && disk.total <= 208)
  t.ok(disk.requests <= 60, 'the disk is written once per block, not per use')
})

void t.test('concurrent callers get one use each, from as few blocks as possible', async (t) => {
  const disk = { total: 0, requests: 0 }
  const { counter } = counterOn(disk, { maxUses: 1000 })
  await Promise.all(Array.from({ length: 50 }, () => counter.take()))
  t.ok(disk.total >= 50 && disk.total <= 56)
  t.ok(disk.requests <= 14)
})

void t.test('the next block is fetched ahead, while uses are left', async (t) => {
  const disk = { total: 0, requests: 0 }
  const { counter } = counterOn(disk)
  await counter.take()
  t.equal(counter.tryTake(), true)
  t.equal(disk.requests, 1)
  t.equal(counter.tryTake(), true, 'half is gone: this one asks for more')
  await new Promise(setImmediate)
  t.equal(disk.requests, 2)
  t.same([counter.tryTake(), counter.tryTake()], [true, true])
})

void t.test(
  'a process that exits discards its block, and the next process starts after it',
  async (t) => {
    const disk = { total: 0, requests: 0 }
    let taken = 0
    for (let life = 0; life < 10; life++) {
      const { counter } = counterOn(disk, { maxUses: 1000 })
      for (let use = 0; use < life; use++) {
        await counter.take()
        taken += 1
      }
      t.ok(disk.total >= taken, `life ${String(life)}`)
    }
  },
)

void t.test('it refuses permanently from exactly the limit on', async (t) => {
  const disk = { total: 0, requests: 0 }
  const { counter } = counterOn(disk, { maxUses: 10 })
  for (let use = 0; use < 10; use++) await counter.take()
  await t.rejects(counter.take(), EXHAUSTED)
  const { requests } = disk
  await t.rejects(counter.take(), EXHAUSTED)
  t.equal(counter.tryTake(), false)
  t.equal(disk.requests, requests, 'the disk is not asked again')
  t.equal(disk.total, 10)
  await t.rejects(counterOn(disk, { maxUses: 10 }).counter.take(), EXHAUSTED, 'after a restart too')
})

void t.test('two processes share the uses left before the limit', async (t) => {
  const disk = { total: 0, requests: 0 }
  const counters = [counterOn(disk, { maxUses: 21 }), counterOn(disk, { maxUses: 21 })]
  let taken = 0
  for (const { counter } of counters) {
    for (;;) {
      const done = await counter.take().then(
        () => true,
        () => false,
      )
      if (!done) break
      taken += 1
    }
  }
  t.equal(taken, 21)
  t.equal(disk.total, 21)
})

void t.test('if the disk fails, no use is granted, and the next call tries again', async (t) => {
  const disk = { total: 0, requests: 0 }
  let broken = true
  const gate = () => (broken ? Promise.reject(new Error('disk')) : Promise.resolve())
  const { counter } = counterOn(disk, { gate })
  await t.rejects(counter.take(), { message: 'disk' })
  t.equal(counter.tryTake(), false)
  await new Promise(setImmediate)
  broken = false
  await counter.take()
  t.equal(disk.total, 4)
})

void t.test('a failed reservation in advance fails no request, and is retried', async (t) => {
  const disk = { total: 0, requests: 0 }
  let broken = false
  const gate = () => (broken ? Promise.reject(new Error('disk')) : Promise.resolve())
  const { counter } = counterOn(disk, { gate })
  await counter.take()
  broken = true
  t.same([counter.tryTake(), counter.tryTake()], [true, true])
  await new Promise(setImmediate)
  broken = false
  t.equal(counter.tryTake(), true)
  await counter.take()
  t.ok(disk.total >= 5)
})

void t.test('it warns once at 75 % and once at 90 %', async (t) => {
  const disk = { total: 0, requests: 0 }
  const { counter, warned } = counterOn(disk, { blockUses: 5, maxUses: 100 })
  for (let use = 0; use < 70; use++) await counter.take()
  t.same(warned, [75], 'as what is set aside reaches it')
  for (let use = 70; use < 100; use++) await counter.take()
  t.same(warned, [75, 90])
  const next = counterOn(disk, { blockUses: 5, maxUses: 100 })
  await t.rejects(next.counter.take(), EXHAUSTED)
  t.same(next.warned, [100], 'and once in each process')
})
