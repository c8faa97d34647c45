/** Tests that a changed configuration is applied in every worker or in none. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { applyToAll } from '../../../src/app/cluster.ts'

void t.test('every worker applies it', async (t) => {
  const used: unknown[] = []
  const use = (config: unknown) => used.push(config)
  const callAll = () => Promise.resolve([['a'], ['a', 'b']])
  t.same(await applyToAll({ callAll }, { next: 2, before: 1, use }), ['a', 'b'])
  t.same(used, [2])
})

void t.test('a worker that fails takes the others back, and those that start', async (t) => {
  const calls: unknown[] = []
  const failure = new Error('no answer')
  const supervisor = {
    callAll(name: string, input?: unknown) {
      calls.push([name, input])
      return input === 'next' ? Promise.reject(failure) : Promise.resolve([])
    },
  }
  const use = (config: string) => calls.push(['use', config])
  await t.rejects(applyToAll(supervisor, { next: 'next', before: 'before', use }), failure)
  t.same(calls, [
    ['use', 'next'],
    ['apply', 'next'],
    ['use', 'before'],
    ['apply', 'before'],
  ])
})

void t.test('a worker that cannot go back is reported', async (t) => {
  const callAll = () => Promise.reject(new Error('no answer'))
  const use = () => undefined
  await t.rejects(applyToAll({ callAll }, { next: 'next', before: 'before', use }), {
    message: /could not roll back; restart the server/,
  })
})
