/** Tests when the keys of a token that several workers divide among themselves count as read. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { KeyReader, type KeyReaderEvents } from '../../../src/keys/pkcs11/pool/key-reader.ts'
import type { Call, ListedKey } from '../../../src/keys/pkcs11/wire/calls.ts'
import { eventually } from '../../support/server.ts'
import { systemClock } from '../../../src/core/clock.ts'

const KEYS = 101

const listed = (key: number): ListedKey => ({ name: `key-${String(key)}`, version: 1 })

/**
 * Starts a reader whose two workers read these shares. Each share and the first run take two steps.
 * @param shares the keys that each worker reads
 */
function startReader(
  t: Test,
  shares: readonly [readonly number[], readonly number[]],
  aesKeys?: number,
) {
  const workers = shares.map((share) => ({
    ...{ isUsable: true, state: 'ready', process: { size: 0 } },
    steps: [share.slice(0, 1), share.slice(1)],
  }))
  let finishRun: () => void = () => undefined
  const mayFinish = new Promise<void>((resolve) => (finishRun = resolve))
  const calls: string[] = []
  const ask = async (worker: (typeof workers)[number], call: Call): Promise<unknown> => {
    const common = { total: KEYS, left: 0, isFresh: call.call === 'index', appeared: 0 }
    calls.push(call.call)
    if (call.call === 'share') {
      const [step = []] = worker.steps.splice(0, 1)
      return {
        ...{ ...common, isComplete: worker.steps.length === 0, entries: step.map(listed) },
        fingerprints: step.map(String),
        ...(worker.steps.length === 0 && aesKeys !== undefined ? { aesKeys } : {}),
      }
    }
    if (call.call === 'names') return 0
    const isFirstStep = calls.filter((one) => one === 'index').length === 1
    if (!isFirstStep) await mayFinish
    return { ...common, isComplete: !isFirstStep, entries: [] }
  }
  const options = {
    token: { label: 'xks' },
    config: { sessions: { min: 2 }, keys: { refreshMs: 60_000 } },
    clock: systemClock,
    logger: { info: () => undefined, warn: () => undefined, error: () => undefined },
  } as never
  const reader = new KeyReader(options, {
    workers: () => workers as never,
    isPressed: () => false,
    ask: ask as never,
    onHome: () => undefined,
  })
  t.teardown(() => {
    reader.stop()
  })
  const events: KeyReaderEvents = {
    onKeys: () => undefined,
    onShare: () => undefined,
    onRunEnd: () => undefined,
    takeUsed: () => [],
  }
  let isRead = false
  const done = reader.start(events).then(() => {
    isRead = true
  })
  return {
    calls,
    done,
    isRead: () => isRead,
    finishRun: () => {
      finishRun()
    },
  }
}

const all = Array.from({ length: KEYS }, (_, key) => key)
const even = all.filter((key) => key % 2 === 0)
const odd = all.filter((key) => key % 2 === 1)

void t.test(
  'shares that have every key count, although the first run is not complete',
  async (t) => {
    const reader = startReader(t, [even, odd])
    await reader.done
    t.ok(reader.calls.includes('index'), 'the first run has begun')
    reader.finishRun()
  },
)

void t.test('keys of other types do not count', async (t) => {
  const reader = startReader(t, [even.slice(1), odd], KEYS - 1)
  await reader.done
  t.ok(reader.calls.includes('index'), 'the first run has begun')
  reader.finishRun()
})

void t.test('if a key is in no share, only the first run counts', async (t) => {
  const reader = startReader(t, [even, [0, ...odd.slice(1)]])
  await eventually(() => reader.calls.filter((call) => call === 'index').length === 2)
  t.notOk(reader.isRead(), 'a key that was not read may have the name of one that was')
  reader.finishRun()
  await reader.done
  t.ok(reader.isRead())
})
