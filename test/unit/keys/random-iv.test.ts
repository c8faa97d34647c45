/** Tests that each IV is drawn from the kernel at the moment of the encryption. */
// SPDX-License-Identifier: Apache-2.0
import { createSecretKey, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import t, { type Test } from 'tap'
import { drawIv } from '../../../src/keys/random-iv.ts'
import { SoftwareKey } from '../../../src/keys/software/gcm.ts'

/** The kernel's bytes are all `value` from here on, as after a resume that it has noticed. */
function kernelGives(t: Test, value: number, size = 12): () => number {
  const read = fs.readSync
  let reads = 0
  const give = (_fd: number, into: Buffer) => {
    reads += 1
    into.fill(value)
    return size
  }
  fs.readSync = give as unknown as typeof fs.readSync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.readSync = read
    syncBuiltinESMExports()
  })
  return () => reads
}

void t.test('nothing is drawn ahead: the next IV is what the kernel gives now', (t) => {
  const key = new SoftwareKey(createSecretKey(randomBytes(32)))
  const seal = () => key.seal({ plaintext: Buffer.alloc(32), aad: Buffer.alloc(0) }).iv
  const before = [seal(), drawIv(), seal()]
  t.equal(new Set(before.map((iv) => iv.toString('hex'))).size, 3)
  const reads = kernelGives(t, 0xa5)
  for (let i = 0; i < 3; i++) t.same(seal(), Buffer.alloc(12, 0xa5))
  t.equal(reads(), 3)
  t.end()
})

void t.test('too few bytes are no IV', (t) => {
  kernelGives(t, 0xa5, 11)
  t.throws(() => drawIv(), /too few random bytes/)
  t.end()
})

void t.test('many are all different', (t) => {
  const seen = new Set(Array.from({ length: 20_000 }, () => drawIv().toString('latin1')))
  t.equal(seen.size, 20_000)
  t.end()
})
