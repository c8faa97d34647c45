/**
 * Runs Project Wycheproof over HTTP, importing each case's key. The proxy prefixes the AAD with lengths and adds its
 * ciphertextMetadata, so a case's own tag can never verify here. GCM ciphertexts do not depend on the AAD, however, so
 * the test keeps the case's key, IV, plaintext and ciphertext, and computes the tag over the framed AAD with
 * node:crypto. If the case modifies its tag, the same bits are flipped in the computed tag. For Encrypt, the proxy
 * chooses the IV, so node:crypto decrypts the result.
 */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createDecipheriv } from 'node:crypto'
import t from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { encodeAad } from '../../src/xks/wire-bytes.ts'
import type { KmsSideClient, KmsSideResponse } from '../../src/kms/client/client.ts'
import { eventually, startTestServer } from '../support/server.ts'
import { loadGcmCases, type GcmCase } from '../support/wycheproof.ts'

const CASES = loadGcmCases()
const NO_METADATA = Buffer.alloc(0)

/** Encrypts as another proxy that follows the specification would. */
function encryptElsewhere({ key, iv, plaintext }: GcmCase, aad: Buffer) {
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(aad)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return { ciphertext, tag: cipher.getAuthTag() }
}

function decryptElsewhere(key: Buffer, made: Record<string, Buffer>, aad: Buffer): Buffer {
  const { iv, ciphertext, tag } = made
  if (!iv || !ciphertext || !tag) throw new TypeError('the answer lacks a field')
  const decipher = createDecipheriv('aes-256-gcm', key, iv)
  decipher.setAAD(aad).setAuthTag(tag)
  return Buffer.concat([decipher.update(ciphertext), decipher.final()])
}

function xor(a: Buffer, b: Buffer): Buffer {
  return Buffer.from(a.map((byte, i) => byte ^ (b[i] ?? 0)))
}

const field = ({ body }: KmsSideResponse, name: string) =>
  Buffer.from(String((body as Record<string, unknown>)[name]), 'base64')

const idOf = (one: GcmCase) => `wycheproof-${String(one.id)}`

function decrypt(client: KmsSideClient, one: GcmCase, tag: Buffer): Promise<KmsSideResponse> {
  return client.decrypt(idOf(one), {
    ciphertext: one.ciphertext,
    initializationVector: one.iv,
    authenticationTag: tag,
    aad: one.aad,
  })
}

const REFUSED = { status: 400, body: { errorName: 'InvalidCiphertextException' } }

void t.test('Wycheproof over HTTP', async (t) => {
  const server = await startTestServer(t)
  for (const one of CASES) {
    await server.createKey(idOf(one), { material: new Secret(Buffer.from(one.key)) })
  }
  const client = server.client()
  const [last] = CASES.slice(-1)
  await eventually(
    async () => last !== undefined && (await client.getKeyMetadata(idOf(last))).status === 200,
  )

  for (const one of CASES) {
    await t.test(one.label, async (t) => {
      const framed = encryptElsewhere(one, encodeAad(one.aad, NO_METADATA))
      const honest = encryptElsewhere(one, one.aad)
      // A proxy that frames its AAD must not decrypt a ciphertext made without framing.
      t.match(await decrypt(client, one, one.tag), REFUSED)
      if (!one.isValid) {
        t.match(await decrypt(client, one, xor(framed.tag, xor(honest.tag, one.tag))), REFUSED)
        return
      }
      t.ok(honest.ciphertext.equals(one.ciphertext) && honest.tag.equals(one.tag))
      const opened = await decrypt(client, one, framed.tag)
      t.equal(opened.status, 200)
      t.ok(field(opened, 'plaintext').equals(one.plaintext))

      const made = await client.encrypt(idOf(one), { plaintext: one.plaintext, aad: one.aad })
      t.equal(made.status, 200)
      const metadata = field(made, 'ciphertextMetadata')
      const parts = {
        iv: field(made, 'initializationVector'),
        ciphertext: field(made, 'ciphertext'),
        tag: field(made, 'authenticationTag'),
      }
      const plaintext = decryptElsewhere(one.key, parts, encodeAad(one.aad, metadata))
      t.ok(plaintext.equals(one.plaintext))
    })
  }
})
