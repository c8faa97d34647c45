/** Tests Encrypt with a backend that records calls, and with a backend that simulates faulty memory. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import t from 'tap'
import { BackendError } from '../../../src/keys/errors.ts'
import type { BackendKey, DecryptRequest, SealedBytes } from '../../../src/keys/key-backend.ts'
import { Deadline } from '../../../src/core/deadline.ts'
import type { RequestRecord } from '../../../src/core/request.ts'
import { toXksError } from '../../../src/xks/error-map.ts'
import { encrypt, toEncryptResponse } from '../../../src/xks/operations/encrypt.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { keyId } from '../../support/server.ts'

const KEY = {
  keyId: keyId('key'),
  enabled: true,
  canEncrypt: true,
  canDecrypt: true,
  currentVersion: 7,
}
const PLAINTEXT = Buffer.from('thirty-two bytes of a data key!!')
const AAD = Buffer.from('project=nile')
const METADATA = Buffer.from('0100000007', 'hex')
const FRAMED = Buffer.concat([Buffer.from([0, AAD.length]), AAD, Buffer.from([5]), METADATA])

const newSealed = (): SealedBytes => ({
  ciphertext: Buffer.alloc(32, 1),
  iv: Buffer.alloc(12, 2),
  tag: Buffer.alloc(16, 3),
})

/** Computes the CDIV with node:crypto over the parts listed in the specification's Appendix C. */
function cdivOf({ iv, ciphertext, tag }: SealedBytes): string {
  const parts = Buffer.concat([AAD, METADATA, iv, ciphertext, tag])
  return createHash('sha256').update(parts).digest('base64')
}

interface Call {
  readonly name: 'encrypt' | 'decrypt'
  readonly version: number
  readonly aad: Buffer
  readonly sealed?: SealedBytes
}

/** Creates a backend that records requests, encrypts to constants, and decrypts to the bytes that `open` returns. */
function recording(sealed: SealedBytes, open: (asked: DecryptRequest) => Buffer) {
  const calls: Call[] = []
  const key: BackendKey = {
    ...KEY,
    encrypt({ version, aad }) {
      calls.push({ name: 'encrypt', version, aad })
      return Promise.resolve(sealed)
    },
    async decrypt(asked) {
      const { version, aad, iv, ciphertext, tag } = asked
      calls.push({ name: 'decrypt', version, aad, sealed: { iv, ciphertext, tag } })
      return Promise.resolve().then(() => open(asked))
    },
  }
  return { key, calls }
}

function run(key: BackendKey, options: { readonly verify: boolean; readonly cdiv: boolean }) {
  const stages: string[] = []
  const timer = {
    end: (stage: string) => stages.push(stage),
    move: () => undefined,
    fail: () => undefined,
    finish: () => undefined,
  }
  const result = encrypt(
    { record: {} as RequestRecord, timer, deadline: new Deadline(new FakeClock(), 1000) },
    { verifyEveryEncrypt: options.verify },
    key,
    { kind: 'encrypt', plaintext: PLAINTEXT, aad: AAD, wantsCdiv: options.cdiv },
  ).then(toEncryptResponse)
  return { result, stages }
}

void t.test(
  '[CDIV-2] the CDIV covers the encrypted bytes, not buffers that the decrypt changed',
  async (t) => {
    const sealed = newSealed()
    const before = cdivOf(sealed)
    // A bit flips during the verifying decrypt. A CDIV computed afterwards would match the corrupted ciphertext.
    const { key, calls } = recording(sealed, () => {
      sealed.ciphertext.writeUInt8(sealed.ciphertext.readUInt8(0) ^ 1, 0)
      return Buffer.from(PLAINTEXT)
    })
    const { result, stages } = run(key, { verify: true, cdiv: true })
    const answer = await result
    t.same(
      calls.map(({ name }) => name),
      ['encrypt', 'decrypt'],
    )
    t.equal(answer.ciphertextDataIntegrityValue, before)
    t.not(cdivOf(sealed), before, 'KMS notices the flipped bit')
    t.equal(answer.ciphertext, sealed.ciphertext.toString('base64'))
    t.same(stages, ['backend', 'verify'], 'the verifying decrypt has an account of its own')
  },
)

void t.test('[CDIV-2] encrypt and verify use one version and one framed AAD', async (t) => {
  const sealed = newSealed()
  const { key, calls } = recording(sealed, () => Buffer.from(PLAINTEXT))
  const answer = await run(key, { verify: true, cdiv: true }).result
  for (const { aad, version } of calls) {
    t.same(aad, FRAMED)
    t.equal(version, 7)
  }
  t.match(calls[1]?.sealed, sealed)
  t.equal(answer.ciphertextMetadata, METADATA.toString('base64'))
})

void t.test('[CDIV-3] a verifying decrypt that fails is an InternalException', async (t) => {
  const { key } = recording(newSealed(), () => {
    throw new BackendError('INTEGRITY_FAILURE', 'the tag is wrong')
  })
  for (const cdiv of [true, false]) {
    const error: unknown = await run(key, { verify: true, cdiv }).result.catch(
      (thrown: unknown) => thrown,
    )
    t.match(toXksError(error, 'Encrypt'), {
      errorName: 'InternalException',
      status: 500,
      reason: 'INTEGRITY_FAILURE',
    })
  }
})

void t.test(
  '[CDIV-3] so is one that returns different bytes, even by one bit or in length',
  async (t) => {
    const flipped = Buffer.from(PLAINTEXT)
    flipped.writeUInt8(flipped.readUInt8(31) ^ 0x80, 31)
    for (const opened of [flipped, PLAINTEXT.subarray(1), Buffer.alloc(0), Buffer.alloc(33)]) {
      const { key } = recording(newSealed(), () => opened)
      await t.rejects(run(key, { verify: true, cdiv: true }).result, {
        name: 'XksError',
        errorName: 'InternalException',
        reason: 'VERIFY_MISMATCH',
      })
    }
  },
)

void t.test('[CDIV-3] nothing is decrypted unless a CDIV is requested', async (t) => {
  const { key, calls } = recording(newSealed(), () => PLAINTEXT)
  const { result, stages } = run(key, { verify: false, cdiv: false })
  t.equal((await result).ciphertextDataIntegrityValue, undefined)
  t.equal(calls.length, 1)
  t.same(stages, ['backend'])
})
