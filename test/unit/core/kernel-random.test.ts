/** Tests that every IV and every epoch tag is read from the kernel at the moment of use. */
// SPDX-License-Identifier: Apache-2.0
import { createSecretKey, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import t, { type Test } from 'tap'
import { drawIv } from '../../../src/core/kernel-random.ts'
import { SoftwareKey } from '../../../src/keys/software/gcm.ts'
import { encryptInside } from '../../../src/kms/emulator/double-encryption.ts'
import { createTag } from '../../../src/store/epochs.ts'
import { createSealing } from '../../../src/store/sealing.ts'
import { listFiles, read } from '../../support/repository.ts'

/**
 * Makes the kernel return only the byte `value` from now on, as if its generator had been reseeded after the machine
 * was resumed.
 */
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

void t.test(
  'nothing is drawn in advance: the next IV comes from the kernel at the time of use',
  (t) => {
    const key = new SoftwareKey(createSecretKey(randomBytes(32)))
    const seal = () => key.seal({ plaintext: Buffer.alloc(32), aad: Buffer.alloc(0) }).iv
    const before = [seal(), drawIv(), seal()]
    t.equal(new Set(before.map((iv) => iv.toString('hex'))).size, 3)
    const reads = kernelGives(t, 0xa5)
    for (let i = 0; i < 3; i++) t.same(seal(), Buffer.alloc(12, 0xa5))
    t.equal(reads(), 3)
    t.end()
  },
)

void t.test('rows of the store, epochs and the emulator draw from the kernel too', (t) => {
  const sealing = createSealing(randomBytes(32))
  const material = createSecretKey(randomBytes(32))
  const draws = {
    wrap: () => Buffer.from(sealing.wrap(['x'], Buffer.alloc(32)), 'base64').subarray(0, 12),
    tag: () => Buffer.from(createTag(''), 'base64url'),
    emulator: () => encryptInside(material, Buffer.alloc(32), Buffer.alloc(0)).subarray(0, 12),
  }
  for (const [name, draw] of Object.entries(draws)) t.notSame(draw(), draw(), name)
  const reads = kernelGives(t, 0x5a)
  for (const [name, draw] of Object.entries(draws)) t.same(draw(), Buffer.alloc(12, 0x5a), name)
  t.equal(reads(), 3)
  t.end()
})

/**
 * Files that use the pooled generator only for timing the cipher, or for test data under a key that is then discarded.
 */
const WITHOUT_DATA = [
  'src/keys/suite/ciphertext-checks.ts',
  'src/observability/metrics/request-metrics.ts',
  'src/tools/report/series.ts',
]

void t.test('no file that encrypts draws from the generator in the process', (t) => {
  const sources = listFiles().filter((path) => path.startsWith('src/') && path.endsWith('.ts'))
  const encrypting = sources.filter((path) => read(path).includes('createCipheriv('))
  t.ok(encrypting.length >= 6, encrypting.join())
  t.same(
    encrypting.filter((path) => read(path).includes('randomBytes(')),
    WITHOUT_DATA,
  )
  t.end()
})

void t.test('too few bytes from the kernel are an error', (t) => {
  kernelGives(t, 0xa5, 11)
  t.throws(() => drawIv(), /too few random bytes/)
  t.end()
})

void t.test('many are all different', (t) => {
  const seen = new Set(Array.from({ length: 20_000 }, () => drawIv().toString('latin1')))
  t.equal(seen.size, 20_000)
  t.end()
})
