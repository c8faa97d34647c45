/** Tests which keys an index run reads again, on a token whose keys change under the index. */
// SPDX-License-Identifier: Apache-2.0
import pkcs11 from 'pkcs11js'
import t from 'tap'
import type { Pkcs11Module } from '../../../src/keys/pkcs11/worker/module.ts'
import { TokenIndex } from '../../../src/keys/pkcs11/worker/token-index.ts'

interface FakeKey {
  label: string
  bytes: number
  /** CKA_KEY_TYPE (default: AES). */
  type?: number
}

const SESSION = Buffer.of(0)
const COMPLETE_BYTES = 32

function toUlong(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/** Creates an index of `keys`, which a test changes between runs. Handles are one byte. */
function indexOf(keys: Map<number, FakeKey>) {
  const read: string[] = []
  let run = 0
  let isSearched = false
  const cryptoki = {
    C_FindObjectsInit() {
      isSearched = false
    },
    C_FindObjects() {
      const found = isSearched ? [] : [...keys.keys()].map((handle) => Buffer.of(handle))
      isSearched = true
      return found
    },
    C_FindObjectsFinal: () => undefined,
    C_GetAttributeValue(_session: Buffer, handle: Buffer, template: { type: number }[]) {
      const key: FakeKey = keys.get(handle[0] ?? -1) ?? { label: '', bytes: 0 }
      read.push(key.label)
      const values = new Map<number, Buffer>([
        [pkcs11.CKA_LABEL, Buffer.from(key.label)],
        [pkcs11.CKA_KEY_TYPE, toUlong(key.type ?? pkcs11.CKK_AES)],
        [pkcs11.CKA_VALUE_LEN, toUlong(key.bytes)],
        [pkcs11.CKA_ENCRYPT, Buffer.of(1)],
        [pkcs11.CKA_DECRYPT, Buffer.of(1)],
      ])
      return template.map(({ type }) => ({ type, value: values.get(type) }))
    },
  }
  const module = { cryptoki, constants: pkcs11 } as unknown as Pkcs11Module
  const gcm = { mechanism: pkcs11.CKM_AES_GCM, check: () => Buffer.of(1) } as never
  const index = new TokenIndex({
    ...{ module, gcm, keysBy: 'label', handles: undefined },
    isReserved: (label) => label === 'reserved',
  })
  /** Returns the labels that a run reads, and what the run reports. */
  return (...again: readonly string[]) => {
    run += 1
    read.length = 0
    const { entries, appeared } = index.step(SESSION, { run, again }, () => true)
    const reported = entries.map(({ name, version, key }) => ({
      ...{ name, version, isUsable: key !== undefined && key.problem === undefined },
    }))
    return { read: [...read].sort(), reported, appeared }
  }
}

void t.test('complete keys are read once, and used keys again', async (t) => {
  const keys = new Map([
    [1, { label: 'one', bytes: COMPLETE_BYTES }],
    [2, { label: 'two', bytes: COMPLETE_BYTES }],
  ])
  const run = indexOf(keys)
  t.same(run().read, ['one', 'two'])
  t.same(run().read, [])
  t.same(run('two').read, ['two'])
})

void t.test('a named key of another type is read once', async (t) => {
  const type = pkcs11.CKK_GENERIC_SECRET
  const keys = new Map<number, FakeKey>([
    [1, { label: 'secret', bytes: COMPLETE_BYTES, type }],
    [2, { label: '', bytes: COMPLETE_BYTES, type }],
    [3, { label: 'short', bytes: 16 }],
  ])
  const run = indexOf(keys)
  run()
  t.same(run().read, ['', 'short'])
})

void t.test('a key that the first run read before it was complete is read again', async (t) => {
  const key = { label: '', bytes: 0 }
  const run = indexOf(new Map([[1, key]]))
  t.same(run().reported, [{ name: '', version: 1, isUsable: false }])
  t.same(run().read, [''])
  Object.assign(key, { label: 'payroll@2', bytes: COMPLETE_BYTES })
  t.same(run().reported, [
    { name: '', version: 1, isUsable: false },
    { name: 'payroll', version: 2, isUsable: true },
  ])
  t.same(run().read, [], 'it is complete now')
})

void t.test('a key that appears later is read in the next run', async (t) => {
  const keys = new Map([[1, { label: 'one', bytes: COMPLETE_BYTES }]])
  const run = indexOf(keys)
  run()
  const key = { label: '', bytes: 0 }
  keys.set(2, key)
  t.match(run(), { read: [], appeared: 1 }, 'another program may still be creating it')
  Object.assign(key, { label: 'one@2', bytes: COMPLETE_BYTES })
  const next = run()
  t.same(next.reported, [{ name: 'one', version: 2, isUsable: true }])
  t.equal(next.appeared, 0)
  t.same(run().read, [])
})

void t.test('a key is removed from the list when its label becomes reserved', async (t) => {
  const key = { label: '', bytes: 0 }
  const run = indexOf(new Map([[1, key]]))
  run()
  Object.assign(key, { label: 'reserved', bytes: COMPLETE_BYTES })
  t.same(run().reported, [{ name: '', version: 1, isUsable: false }])
  t.same(run().read, [])
})

void t.test(
  'of many unusable keys, a run reads those again that were read longest ago',
  async (t) => {
    const keys = new Map<number, FakeKey>()
    for (let i = 0; i < 120; i++) keys.set(i, { label: `short-${String(i)}`, bytes: 16 })
    const run = indexOf(keys)
    const labels = run().read
    t.equal(labels.length, 120)
    const again = [run().read, run().read, run().read]
    for (const read of again) t.equal(read.length, 50)
    t.same([...new Set(again.flat())].sort(), labels, 'three runs read each key')
  },
)
