/** Tests that a ciphertext with any tampered part does not decrypt, and that the error does not reveal which part. */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { checkError } from '../support/answers.ts'
import { KEY_ID, eventually, keyId, startTestServer, type TestServer } from '../support/server.ts'
import { openSession, type Session } from '../support/session.ts'
import { decryptBody, encryptBody } from '../support/wire.ts'

const AAD = Buffer.from('project=nile')
const PLAINTEXT = Buffer.from('a data key of thirty-two bytes!!')
const DECRYPT = `/keys/${KEY_ID}/decrypt`
const PARTS = [
  'ciphertext',
  'ciphertextMetadata',
  'initializationVector',
  'authenticationTag',
  'additionalAuthenticatedData',
] as const
type Part = (typeof PARTS)[number]
type Parts = Readonly<Record<Part, Buffer>>

/** The exact response to every invalid ciphertext. */
const ANSWER =
  '{"errorName":"InvalidCiphertextException","errorMessage":"The ciphertext, ciphertext metadata, initialization vector, additional authenticated data or authentication tag is corrupted, missing or otherwise invalid."}'

async function encrypt(session: Session, key = KEY_ID): Promise<Parts> {
  const body = encryptBody({
    plaintext: PLAINTEXT.toString('base64'),
    additionalAuthenticatedData: AAD.toString('base64'),
  })
  const { json } = await session.call(`/keys/${key}/encrypt`, body)
  return Object.fromEntries(
    PARTS.map((part) => [
      part,
      part === 'additionalAuthenticatedData' ? AAD : Buffer.from(String(json[part]), 'base64'),
    ]),
  ) as Record<Part, Buffer>
}

function toBody(parts: Partial<Parts>): Record<string, unknown> {
  const texts = Object.entries(parts).map(([part, bytes]) => [part, bytes.toString('base64')])
  return decryptBody({}, Object.fromEntries(texts) as Record<string, unknown>)
}

async function start(t: Test): Promise<{ server: TestServer; session: Session; parts: Parts }> {
  const server = await startTestServer(t)
  const session = await openSession(t, server)
  const parts = await encrypt(session)
  const opened = await session.call(DECRYPT, toBody(parts))
  t.same(opened.json, { plaintext: PLAINTEXT.toString('base64') }, 'unchanged, it opens')
  return { server, session, parts }
}

async function checkAllRefused(
  t: Test,
  session: Session,
  all: readonly Partial<Parts>[],
): Promise<void> {
  const answers = await session.callAll(
    all.map((parts) => ({ path: DECRYPT, body: toBody(parts) })),
  )
  const refused = answers.filter(({ status, body }) => status === 400 && body === ANSWER)
  t.equal(refused.length, all.length)
  const heads = new Set(
    answers.map(({ headers }) => [...headers].filter(([name]) => name !== 'date').join()),
  )
  t.equal(heads.size, 1, 'the headers are the same too')
}

function flip(bytes: Buffer, bit: number): Buffer {
  const changed = Buffer.from(bytes)
  changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
  return changed
}

for (const part of PARTS) {
  void t.test(`[DEC-2] [DEC-5] every single bit of ${part} counts`, async (t) => {
    const { session, parts } = await start(t)
    const bits = Array.from({ length: parts[part].length * 8 }, (_, bit) => bit)
    t.ok(bits.length >= 40)
    await checkAllRefused(
      t,
      session,
      bits.map((bit) => ({ ...parts, [part]: flip(parts[part], bit) })),
    )
  })
}

void t.test('[DEC-5] whatever replaces a part, the response is the same', async (t) => {
  const { session, parts } = await start(t)
  const change = fc.tuple(fc.constantFrom(...PARTS), fc.uint8Array({ maxLength: 40 }))
  await fc.assert(
    fc.asyncProperty(change, async ([part, bytes]) => {
      const other = Buffer.from(bytes)
      fc.pre(!other.equals(parts[part]))
      const answer = await session.call(DECRYPT, toBody({ ...parts, [part]: other }))
      return answer.status === 400 && answer.body === ANSWER
    }),
    { numRuns: 500 },
  )
})

void t.test(
  '[DEC-3] IVs, tags and metadata of any other length get the same response',
  async (t) => {
    const { server, session, parts } = await start(t)
    const lengths = {
      initializationVector: [0, 1, 8, 11, 12, 13, 15, 16, 17, 24, 100],
      authenticationTag: [0, 4, 8, 12, 13, 15, 16, 17, 32],
      ciphertextMetadata: [1, 4, 5, 6, 19, 20, 21, 255],
      ciphertext: [1, 31, 33, 4300],
      additionalAuthenticatedData: [1, 11, 13, 8192],
    } satisfies Record<Part, number[]>
    const wrong = PARTS.flatMap((part) =>
      lengths[part].flatMap((length) => {
        // Truncate or zero-pad the part, or replace it with random bytes.
        const resized = Buffer.concat([parts[part], Buffer.alloc(length)]).subarray(0, length)
        return [resized, randomBytes(length)]
          .filter((bytes) => !bytes.equals(parts[part]))
          .map((bytes) => ({ ...parts, [part]: bytes }))
      }),
    )
    await checkAllRefused(t, session, wrong)
    const lines = await server.stopAndReadLog()
    const reasons = new Set(lines.map(({ reason }) => reason))
    for (const reason of ['LENGTHS', 'METADATA', 'INTEGRITY_FAILURE'] as const) {
      t.ok(reasons.has(reason), `the log tells ${reason}`)
    }
  },
)

void t.test(
  '[DEC-2] metadata that is omitted, moved into the AAD, or from another version',
  async (t) => {
    const { server, session, parts } = await start(t)
    const keys = server.administration.keys(server.credential.keyStore)
    await keys.rotateKey(keyId(KEY_ID))
    await eventually(async () => {
      const { ciphertextMetadata } = await encrypt(session)
      return ciphertextMetadata.readUInt32BE(1) === 2
    })
    const bare: Partial<Parts> = Object.fromEntries(
      Object.entries(parts).filter(([part]) => part !== 'ciphertextMetadata'),
    )
    const metadata = (version: number, format = 1) => {
      const bytes = Buffer.alloc(5, format)
      bytes.writeUInt32BE(version, 1)
      return bytes
    }
    await checkAllRefused(t, session, [
      bare,
      { ...bare, ciphertextMetadata: Buffer.alloc(0) },
      { ...bare, additionalAuthenticatedData: parts.ciphertextMetadata },
      { ...bare, additionalAuthenticatedData: Buffer.concat([AAD, parts.ciphertextMetadata]) },
      ...[0, 2, 3, 0xffff_ffff].map((version) => ({
        ...parts,
        ciphertextMetadata: metadata(version),
      })),
      { ...parts, ciphertextMetadata: metadata(1, 0) },
      { ...parts, ciphertextMetadata: metadata(1, 2) },
    ])
  },
)

void t.test('[DEC-5] parts of two ciphertexts cannot be combined', async (t) => {
  const { server, session, parts } = await start(t)
  await server.createKey('other')
  const path = '/keys/other/decrypt'
  await eventually(async () => (await session.call(path, toBody(parts))).status === 400)
  t.equal((await session.call(path, toBody(parts))).body, ANSWER, 'another key')
  const second = await encrypt(session)
  await checkAllRefused(
    t,
    session,
    (['ciphertext', 'initializationVector', 'authenticationTag'] as const).map((part) => ({
      ...parts,
      [part]: second[part],
    })),
  )
  t.equal((await session.call(DECRYPT, toBody(second))).status, 200)
})

void t.test(
  "[DEC-3] decrypts another proxy's ciphertext under the same key, with 12-byte and 16-byte IVs",
  async (t) => {
    const server = await startTestServer(t, { stopped: true })
    const material = randomBytes(32)
    await server.createKey('imported', { material: new Secret(Buffer.from(material)) })
    await server.start()
    const session = await openSession(t, server)
    for (const ivBytes of [12, 16]) {
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', material, iv)
      // Without metadata, the metadata length is zero.
      cipher.setAAD(Buffer.concat([Buffer.from([0, AAD.length]), AAD, Buffer.from([0])]))
      const ciphertext = Buffer.concat([cipher.update(PLAINTEXT), cipher.final()])
      const parts = {
        ciphertext,
        initializationVector: iv,
        authenticationTag: cipher.getAuthTag(),
        additionalAuthenticatedData: AAD,
      }
      const opened = await session.call('/keys/imported/decrypt', toBody(parts))
      t.same(
        opened.json,
        { plaintext: PLAINTEXT.toString('base64') },
        `IV of ${String(ivBytes)} bytes`,
      )
      const flipped = toBody({ ...parts, initializationVector: flip(iv, ivBytes * 8 - 1) })
      const refused = await session.call('/keys/imported/decrypt', flipped)
      checkError(t, refused, 'InvalidCiphertextException')
      t.equal(refused.body, ANSWER)
    }
  },
)
