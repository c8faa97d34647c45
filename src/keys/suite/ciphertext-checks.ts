/**
 * Checks the part of the key backend contract that concerns bytes: what is encrypted,
 * authenticated, refused and returned.
 */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { Secret } from '../../core/secret.ts'
import type { EncryptedBytes } from './promised-backend.ts'
import { AAD, createKey, decrypt, encrypt, refusal, type Checks } from './fixture.ts'

const INTEGRITY = refusal('INTEGRITY_FAILURE')

/** Returns a copy with one bit flipped. */
function flip(bytes: Buffer, at: number, bit = 0): Buffer {
  const flipped = Buffer.from(bytes)
  flipped.writeUInt8(bytes.readUInt8(at) ^ (1 << bit), at)
  return flipped
}

const each = (bytes: Buffer) => Array.from(bytes.keys())

export const CIPHERTEXT_CHECKS: Checks = {
  'decrypting returns the plaintext, from 0 bytes to the largest': async (t, fixture, traits) => {
    const id = await createKey(fixture)
    for (const size of [0, 1, 15, 16, 17, 32, traits.maxPlaintextBytes]) {
      const plaintext = randomBytes(size)
      const sealed = await encrypt(fixture, id, plaintext)
      t.equal(sealed.ciphertext.length, size, `${String(size)} bytes`)
      t.ok(sealed.iv.length === 12 || sealed.iv.length === 16)
      t.equal(sealed.tag.length, 16)
      if (size >= 16) t.notOk(sealed.ciphertext.equals(plaintext))
      const opened = await decrypt(fixture, id, sealed)
      t.ok(Buffer.isBuffer(opened))
      t.ok(opened.equals(plaintext))
    }
  },

  'AAD is authenticated, from 0 bytes to the longest that a request can carry': async (
    t,
    fixture,
  ) => {
    const id = await createKey(fixture)
    for (const size of [0, 1, 16, 8192, 2 + 65_535 + 1 + 20]) {
      const aad = randomBytes(size)
      const sealed = await encrypt(fixture, id, AAD, aad)
      t.ok((await decrypt(fixture, id, sealed, aad)).equals(AAD), `${String(size)} bytes`)
      if (size === 0) {
        await t.rejects(decrypt(fixture, id, sealed, AAD), INTEGRITY)
        continue
      }
      await t.rejects(decrypt(fixture, id, sealed, Buffer.alloc(0)), INTEGRITY)
      await t.rejects(decrypt(fixture, id, sealed, flip(aad, size - 1)), INTEGRITY)
      await t.rejects(decrypt(fixture, id, sealed, aad.subarray(1)), INTEGRITY)
    }
  },

  'a flipped bit anywhere in ciphertext, IV or tag causes an INTEGRITY_FAILURE': async (
    t,
    fixture,
  ) => {
    const id = await createKey(fixture)
    const sealed = await encrypt(fixture, id, randomBytes(32))
    const changed: EncryptedBytes[] = [
      ...each(sealed.ciphertext).map((i) => ({
        ...sealed,
        ciphertext: flip(sealed.ciphertext, i, i % 8),
      })),
      ...each(sealed.iv).map((i) => ({ ...sealed, iv: flip(sealed.iv, i, i % 8) })),
      ...each(sealed.tag).map((i) => ({ ...sealed, tag: flip(sealed.tag, i, i % 8) })),
      { ...sealed, ciphertext: sealed.ciphertext.subarray(1) },
      { ...sealed, ciphertext: Buffer.alloc(0) },
      { ...sealed, tag: Buffer.alloc(16) },
    ]
    t.ok(changed.length >= 32 + 12 + 16)
    for (const one of changed) await t.rejects(decrypt(fixture, id, one), INTEGRITY)
    const empty = await encrypt(fixture, id, Buffer.alloc(0))
    await t.rejects(decrypt(fixture, id, { ...empty, tag: flip(empty.tag, 0) }), INTEGRITY)
    await decrypt(fixture, id, sealed)
  },

  'an INTEGRITY_FAILURE does not say what is wrong': async (t, fixture) => {
    const id = await createKey(fixture)
    const sealed = await encrypt(fixture, id, randomBytes(32))
    const messages = new Set<string>()
    for (const [one, aad] of [
      [{ ...sealed, tag: flip(sealed.tag, 0) }, AAD],
      [{ ...sealed, iv: flip(sealed.iv, 0) }, AAD],
      [{ ...sealed, ciphertext: flip(sealed.ciphertext, 0) }, AAD],
      [sealed, Buffer.from('other')],
    ] as const) {
      const error: unknown = await decrypt(fixture, id, one, aad).catch((e: unknown) => e)
      t.match(error, INTEGRITY)
      messages.add((error as Error).message)
    }
    t.equal(messages.size, 1)
  },

  'no IV repeats, and none is all zeros': async (t, fixture, { ivSamples }) => {
    const id = await createKey(fixture)
    const seen = new Set<string>()
    const plaintext = Buffer.alloc(1)
    const TOGETHER = 50
    for (let done = 0; done < ivSamples; done += TOGETHER) {
      const some = Array.from({ length: TOGETHER }, () => encrypt(fixture, id, plaintext))
      for (const { iv } of await Promise.all(some)) seen.add(iv.toString('hex'))
    }
    t.equal(seen.size, Math.ceil(ivSamples / TOGETHER) * TOGETHER)
    t.notOk([...seen].some((iv) => /^0+$/.test(iv)))
  },

  'encrypting a plaintext twice yields different ciphertexts': async (t, fixture) => {
    const id = await createKey(fixture)
    const plaintext = randomBytes(32)
    const [a, b] = [await encrypt(fixture, id, plaintext), await encrypt(fixture, id, plaintext)]
    t.notOk(a.ciphertext.equals(b.ciphertext))
    t.notOk(a.tag.equals(b.tag))
  },

  'ciphertexts are AES-256-GCM: another implementation with the same key can decrypt them, and vice versa':
    async (t, fixture, traits) => {
      if (!traits.importsKeys) {
        t.comment('this backend imports no keys')
        return
      }
      const material = randomBytes(32)
      const id = await createKey(fixture, 'key', { material: new Secret(Buffer.from(material)) })
      const plaintext = randomBytes(33)
      const sealed = await encrypt(fixture, id, plaintext)
      const decipher = createDecipheriv('aes-256-gcm', material, sealed.iv)
      decipher.setAAD(AAD).setAuthTag(sealed.tag)
      t.ok(Buffer.concat([decipher.update(sealed.ciphertext), decipher.final()]).equals(plaintext))
      for (const ivBytes of [12, 16]) {
        const iv = randomBytes(ivBytes)
        const cipher = createCipheriv('aes-256-gcm', material, iv)
        cipher.setAAD(AAD)
        const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
        const made = { version: 1, iv, ciphertext, tag: cipher.getAuthTag() }
        t.ok((await decrypt(fixture, id, made)).equals(plaintext), `IV of ${String(ivBytes)} bytes`)
      }
    },

  'input buffers are not changed, and results do not share their memory': async (t, fixture) => {
    const id = await createKey(fixture)
    const plaintext = randomBytes(32)
    const [sent, aad] = [Buffer.from(plaintext), Buffer.from(AAD)]
    const sealed = await encrypt(fixture, id, sent, aad)
    t.ok(sent.equals(plaintext))
    t.ok(aad.equals(AAD))
    sent.fill(0)
    aad.fill(0)
    const copy = {
      version: sealed.version,
      iv: Buffer.from(sealed.iv),
      ciphertext: Buffer.from(sealed.ciphertext),
      tag: Buffer.from(sealed.tag),
    }
    t.ok((await decrypt(fixture, id, sealed)).equals(plaintext))
    t.same(sealed, copy, 'decrypting does not change its input')
  },

  'overwriting returned buffers changes no later result': async (t, fixture) => {
    const id = await createKey(fixture)
    const plaintext = randomBytes(32)
    const kept = await encrypt(fixture, id, plaintext)
    for (let round = 0; round < 5; round++) {
      const { iv, ciphertext, tag } = await encrypt(fixture, id, plaintext)
      for (const bytes of [iv, ciphertext, tag]) bytes.fill(0xff)
      ;(await decrypt(fixture, id, kept)).fill(0xff)
      const next = await encrypt(fixture, id, plaintext)
      t.notOk(next.iv.every((byte) => byte === 0xff))
      t.ok((await decrypt(fixture, id, next)).equals(plaintext))
    }
    t.ok((await decrypt(fixture, id, kept)).equals(plaintext))
  },

  'concurrent calls on several keys do not interfere': async (t, fixture) => {
    const ids = [
      await createKey(fixture, 'a'),
      await createKey(fixture, 'b'),
      await createKey(fixture, 'c'),
    ]
    const calls = Array.from({ length: 60 }, async (_, i) => {
      const id = ids[i % ids.length] ?? ids[0]
      if (id === undefined) throw new TypeError('no key')
      const plaintext = randomBytes(i)
      const sealed = await encrypt(fixture, id, plaintext)
      return (await decrypt(fixture, id, sealed)).equals(plaintext)
    })
    t.same(
      (await Promise.all(calls)).filter((same) => !same),
      [],
    )
  },
}
