/** Tests which versions of a key are known while index runs have not read all of them yet. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Deadline } from '../../../src/core/deadline.ts'
import { KeyDirectory } from '../../../src/keys/pkcs11/key-directory.ts'
import type { ListedKey, TokenKey } from '../../../src/keys/pkcs11/wire/calls.ts'
import { FakeClock } from '../../support/fake-clock.ts'

const TOKEN = 'hsm/xks'

function version(number: number): TokenKey {
  return {
    ...{ version: number, label: `key@${String(number)}`, id: '', check: `check${String(number)}` },
    ...{ canEncrypt: true, canDecrypt: true, isSensitive: true, isExtractable: false },
  }
}

const listed = (number: number): ListedKey => ({
  ...{ name: 'key', version: number, key: version(number) },
})

/** Creates a directory of a token whose only version 1 has been read once, unless `isRead` is false. */
function directoryOf({ isRead } = { isRead: true }) {
  const clock = new FakeClock()
  const advance = (ms: number) => {
    clock.advance(ms)
    return clock.monotonic()
  }
  const token = { versions: [1], answers: Promise.resolve() }
  const fleet = {
    call: async () => {
      const found = token.versions.map(version)
      await token.answers
      return found
    },
  } as never
  const directory = new KeyDirectory(fleet, clock, 60_000)
  if (isRead) {
    directory.list(TOKEN, [listed(1)], true)
    directory.endRun(TOKEN, true, clock.monotonic())
  }
  advance(1000)
  const find = async () => {
    const { versions } = await directory.find('key', new Deadline(clock, 1000))
    return [...versions.keys()]
  }
  return { advance, token, directory, find }
}

void t.test('a run that has not read a new version yet does not hide it', async (t) => {
  const { advance, token, directory, find } = directoryOf()
  token.versions = [1, 2]
  directory.forget('key')
  t.same(await find(), [1, 2])

  const begunAt = advance(1000)
  directory.list(TOKEN, [listed(1)], false)
  t.same(await find(), [1, 2])
  directory.endRun(TOKEN, false, begunAt - 2000)
  t.same(await find(), [1, 2], 'version 2 has appeared, and the next run reads it')

  directory.list(TOKEN, [listed(2)], false)
  directory.endRun(TOKEN, false, advance(1000))
  t.same(await find(), [1, 2])
  directory.list(TOKEN, [{ name: 'key', version: 2 }], false)
  t.same(await find(), [1], 'it was removed')
})

void t.test('a version that was removed before a run read it disappears', async (t) => {
  const { advance, token, directory, find } = directoryOf()
  token.versions = [1, 2]
  directory.forget('key')
  await find()
  directory.list(TOKEN, [listed(1)], false)
  t.same(await find(), [1, 2])
  directory.endRun(TOKEN, false, advance(1000))
  t.same(await find(), [1], 'a run that began after the lookup does not have it')
})

void t.test('a key that is not used between its rotation and a run is looked up', async (t) => {
  const { advance, token, directory, find } = directoryOf()
  token.versions = [1, 2]
  directory.forget('key')
  directory.list(TOKEN, [listed(1)], false)
  t.same(await find(), [1, 2])
  directory.forget('key')
  directory.list(TOKEN, [listed(1), listed(2)], false)
  token.versions = []
  directory.endRun(TOKEN, false, advance(1000))
  t.same(await find(), [1, 2], 'the lists are complete, so that no lookup is needed')
})

void t.test('a run that reports a key during its lookup does not hide a version', async (t) => {
  const { token, directory, find } = directoryOf({ isRead: false })
  token.versions = [1, 2]
  let answer: () => void = () => undefined
  token.answers = new Promise((resolve) => (answer = resolve))
  const found = find()
  directory.list(TOKEN, [listed(1)], true)
  answer()
  t.same(await found, [1, 2])
  t.same(await find(), [1, 2])
})
