/** What is there at once goes on at once. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { whenThere } from '../../../src/core/awaitable.ts'

void t.test('a value goes on at once, a promise when it is settled', async (t) => {
  t.equal(
    whenThere(1, (value) => value + 1),
    2,
  )
  const later = whenThere(Promise.resolve(1), (value) => value + 1)
  t.ok(later instanceof Promise)
  t.equal(await later, 2)
})

void t.test('what fails before or in the step fails as it was to come', async (t) => {
  const fail = () => {
    throw new RangeError('no')
  }
  t.throws(() => whenThere(1, fail), RangeError)
  await t.rejects(async () => whenThere(Promise.resolve(1), fail), RangeError)
  await t.rejects(async () => whenThere(Promise.reject(new TypeError('before')), fail), TypeError)
})
