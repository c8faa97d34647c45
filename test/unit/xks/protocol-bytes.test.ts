/** Tests the AAD, the CDIV and the ciphertext metadata byte by byte. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  computeCdiv,
  encodeAad,
  encodeCiphertextMetadata,
  parseCiphertextMetadata,
} from '../../../src/xks/wire-bytes.ts'

const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))

void t.test('[ENC-9] the AAD of the key carries both lengths, big-endian', (t) => {
  t.same(encodeAad(Buffer.from('abc'), Buffer.from('xy')), hex('0003 616263 02 7879'))
  t.same(
    encodeAad(Buffer.alloc(0), Buffer.alloc(0)),
    hex('0000 00'),
    'absent parts have length zero',
  )
  const long = encodeAad(Buffer.alloc(8192, 1), Buffer.alloc(20, 2))
  t.same(long.subarray(0, 2), hex('2000'))
  t.equal(long[2 + 8192], 20)
  t.equal(encodeAad(Buffer.alloc(65_535), Buffer.alloc(0)).length, 65_538)
  t.throws(() => encodeAad(Buffer.alloc(65_536), Buffer.alloc(0)), RangeError)
  t.throws(() => encodeAad(Buffer.alloc(0), Buffer.alloc(21)), RangeError)
  t.end()
})

void t.test('[ENC-9] no two pairs of AAD and metadata share an encoding', (t) => {
  fc.assert(
    fc.property(bytes(40), bytes(20), bytes(40), bytes(20), (aad, metadata, aad2, metadata2) => {
      const same = aad.equals(aad2) && metadata.equals(metadata2)
      return encodeAad(aad, metadata).equals(encodeAad(aad2, metadata2)) === same
    }),
  )
  fc.assert(
    fc.property(bytes(20), (metadata) => {
      const asMetadata = encodeAad(Buffer.alloc(0), metadata)
      const asAad = encodeAad(metadata, Buffer.alloc(0))
      return metadata.length === 0 || !asMetadata.equals(asAad)
    }),
  )
  t.end()
})

void t.test("[CDIV-1] the specification's worked example", (t) => {
  const cdiv = computeCdiv({
    aad: Buffer.from('project=nile,department=marketing'),
    metadata: Buffer.from('key_version=1'),
    iv: hex('1ccae5470f39700254779031'),
    ciphertext: hex('821c642b5b71783367deaf18'),
    tag: hex('bc1c4dda7707d6812447c5955e99b261'),
  })
  t.equal(cdiv.toString('hex'), 'a8703f2260bd8791ec2d15ea0b23e65a0631eedcf2a13a65cc82db3f47cf5ec7')
  t.equal(cdiv.toString('base64'), 'qHA/ImC9h5HsLRXqCyPmWgYx7tzyoTplzILbP0fPXsc=')
  t.end()
})

void t.test('[ENC-8] [ENC-10] metadata is a format byte and the version, and reads back', (t) => {
  t.same(encodeCiphertextMetadata(1), hex('01 00000001'))
  t.same(encodeCiphertextMetadata(0xffff_ffff), hex('01 ffffffff'))
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xffff_ffff }), (version) => {
      return parseCiphertextMetadata(encodeCiphertextMetadata(version)) === version
    }),
  )
  fc.assert(
    fc.property(bytes(20), (metadata) => {
      const version = parseCiphertextMetadata(metadata)
      return version === undefined || encodeCiphertextMetadata(version).equals(metadata)
    }),
  )
  for (const version of [0, -1, 1.5, 0x1_0000_0000, NaN]) {
    t.throws(() => encodeCiphertextMetadata(version), RangeError, String(version))
  }
  for (const foreign of ['', '01', '0100000000', '0200000001', '010000000100', '00000001']) {
    t.equal(parseCiphertextMetadata(hex(foreign)), undefined, `foreign metadata ${foreign}`)
  }
  t.end()
})
