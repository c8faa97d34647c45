/** Tests the KMS emulator: the metadata, AAD, lengths and CDIV that it sends and accepts. */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { encodeBlob, parseBlob } from '../../src/kms/emulator/ciphertext-blob.ts'
import { encodeEncryptionContext } from '../../src/kms/emulator/kms-cryptography.ts'
import { HEALTHY, startFakeProxy } from '../support/fake-proxy.ts'
import { ALICE, MALLORY, connect, standIn } from '../support/stand-in.ts'

type Answer = Record<string, string>

/** Starts a proxy that really encrypts. A test can alter the proxy's responses. */
async function setUp(t: Test, spoil: (answer: Answer) => Answer = (answer) => answer) {
  const material = randomBytes(32)
  const proxy = await startFakeProxy(t, (path, body) => {
    if (path.endsWith('/health')) return HEALTHY
    if (path.endsWith('/metadata')) {
      return {
        status: 200,
        body: { keySpec: 'AES_256', keyUsage: ['ENCRYPT', 'DECRYPT'], keyStatus: 'ENABLED' },
      }
    }
    if (path.endsWith('/decrypt')) {
      // Return different bytes of the same length.
      const { length } = Buffer.from(String(body['ciphertext']), 'base64')
      return { status: 200, body: { plaintext: randomBytes(length).toString('base64') } }
    }
    const bytes = (name: string) => Buffer.from(String(body[name]), 'base64')
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', material, iv)
    const ciphertext = Buffer.concat([cipher.update(bytes('plaintext')), cipher.final()])
    const metadata = Buffer.from('v1')
    const tag = cipher.getAuthTag()
    const cdiv = createHash('sha256')
      .update(Buffer.concat([bytes('additionalAuthenticatedData'), metadata, iv, ciphertext, tag]))
      .digest()
    const answer: Answer = {
      ciphertext: ciphertext.toString('base64'),
      ciphertextMetadata: metadata.toString('base64'),
      initializationVector: iv.toString('base64'),
      authenticationTag: tag.toString('base64'),
      ciphertextDataIntegrityValue: cdiv.toString('base64'),
    }
    return { status: 200, body: spoil(answer) }
  })
  const { kms, reports } = standIn(t, proxy)
  const customKeyStoreId = await connect(kms)
  const key = await kms.createKey(ALICE, { customKeyStoreId, xksKeyId: 'k' })
  return { kms, key, proxy, reports }
}

void t.test(
  'requestMetadata is filled in as the specification says for each operation',
  async (t) => {
    const { kms, key, proxy } = await setUp(t)
    const inVpc = { ...ALICE, sourceVpc: 'vpc-1', sourceVpce: 'vpce-1', viaService: 'ebs' }
    const stranger = { ...MALLORY, sourceVpc: 'vpc-2', sourceVpce: 'vpce-2' }
    await kms.generateDataKey(inVpc, { keyId: key.arn })
    await kms.encrypt(stranger, { keyId: key.arn, plaintext: Buffer.from('x') })
    const fieldsOf = (i: number) => proxy.requests[i]?.body['requestMetadata'] as Answer
    t.same(Object.keys(fieldsOf(0)).sort(), ['kmsOperation', 'kmsRequestId'])
    t.equal(fieldsOf(0)['kmsOperation'], 'CreateCustomKeyStore')
    t.equal(fieldsOf(1)['kmsOperation'], 'ConnectCustomKeyStore')
    t.match(fieldsOf(2), { awsPrincipalArn: ALICE.principalArn, kmsOperation: 'CreateKey' })
    t.notOk('kmsKeyArn' in fieldsOf(2), 'there is no KMS key yet')
    t.match(fieldsOf(3), {
      awsPrincipalArn: ALICE.principalArn,
      awsSourceVpc: 'vpc-1',
      awsSourceVpce: 'vpce-1',
      kmsKeyArn: key.arn,
      kmsOperation: 'GenerateDataKey',
      kmsViaService: 'ebs',
    })
    t.match(fieldsOf(4), { awsPrincipalArn: MALLORY.principalArn, kmsOperation: 'Encrypt' })
    t.notOk('awsSourceVpc' in fieldsOf(4), 'no VPC of a caller from another account')
    const ids = proxy.requests.map((_, i) => fieldsOf(i)['kmsRequestId'])
    t.equal(new Set(ids).size, ids.length, 'every call has a request id of its own')
  },
)

void t.test('the proxy never sees the plaintext', async (t) => {
  const { kms, key, proxy } = await setUp(t)
  const plaintext = randomBytes(64)
  await kms.encrypt(ALICE, { keyId: key.arn, plaintext })
  const sent = Buffer.from(String(proxy.requests.at(-1)?.body['plaintext']), 'base64')
  t.equal(sent.length, 64 + 28, 'IV and tag of the inner encryption')
  t.notOk(sent.includes(plaintext.subarray(0, 8)))
})

void t.test('an Encrypt response is checked before a blob is created from it', async (t) => {
  const flip = (text = '') => {
    const bytes = Buffer.from(text, 'base64')
    bytes[0] = (bytes[0] ?? 0) ^ 1
    return bytes.toString('base64')
  }
  const without = (answer: Answer, name: string) =>
    Object.fromEntries(Object.entries(answer).filter(([field]) => field !== name))
  const rows: readonly (readonly [string, (answer: Answer) => Answer])[] = [
    ...['ciphertext', 'ciphertextMetadata', 'initializationVector', 'authenticationTag'].map(
      (name) =>
        [
          `a bit of ${name}`,
          (answer: Answer) => ({ ...answer, [name]: flip(answer[name]) }),
        ] as const,
    ),
    ['no CDIV', (answer) => without(answer, 'ciphertextDataIntegrityValue')],
    ['no metadata, where there was some', (answer) => without(answer, 'ciphertextMetadata')],
    ['no ciphertext', (answer) => without(answer, 'ciphertext')],
    ['a short tag', (answer) => ({ ...answer, authenticationTag: 'AAAA' })],
    ['a long IV', (answer) => ({ ...answer, initializationVector: 'A'.repeat(20) })],
    ['metadata of 21 bytes', (answer) => ({ ...answer, ciphertextMetadata: 'A'.repeat(28) })],
    ['no Base64', (answer) => ({ ...answer, ciphertext: '%%%' })],
  ]
  let spoil = (answer: Answer) => answer
  const { kms, key } = await setUp(t, (answer) => spoil(answer))
  const encrypt = () => kms.encrypt(ALICE, { keyId: key.arn, plaintext: Buffer.from('hello') })
  await t.resolves(encrypt(), 'one that is not spoilt')
  for (const [what, next] of rows) {
    spoil = next
    await t.rejects(
      encrypt(),
      { code: 'KMSInvalidStateException', cause: { code: 'MALFORMED' } },
      what,
    )
  }
})

void t.test('bytes that KMS did not encrypt are not returned', async (t) => {
  const { kms, key } = await setUp(t)
  const { ciphertextBlob } = await kms.encrypt(ALICE, {
    keyId: key.arn,
    plaintext: Buffer.from('hello'),
  })
  await t.rejects(kms.decrypt(ALICE, { ciphertextBlob }), { code: 'KMSInvalidStateException' })
})

void t.test('a blob decrypts to the plaintext, and no other bytes are accepted', (t) => {
  const bytes = (minLength: number, maxLength = minLength) =>
    fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array))
  fc.assert(
    fc.property(
      fc.uuid(),
      bytes(16),
      bytes(0, 20),
      fc.constantFrom(12, 16).chain((length) => bytes(length)),
      bytes(16),
      bytes(1, 200),
      (
        keyId,
        backingKeyId,
        ciphertextMetadata,
        initializationVector,
        authenticationTag,
        ciphertext,
      ) => {
        const header = { keyId, backingKeyId }
        const sealed = { ciphertextMetadata, initializationVector, authenticationTag, ciphertext }
        const blob = encodeBlob(header, sealed)
        t.same(parseBlob(blob), { header, sealed })
        t.equal(parseBlob(blob.subarray(0, blob.length - ciphertext.length)), undefined)
      },
    ),
    { numRuns: 50 },
  )
  t.end()
})

void t.test('encryption contexts have the same encoding only if they are equal', (t) => {
  t.ok(
    encodeEncryptionContext({ a: '1', b: '2' }).equals(encodeEncryptionContext({ b: '2', a: '1' })),
  )
  t.notOk(encodeEncryptionContext({ a: 'b' }).equals(encodeEncryptionContext({ ab: '' })))
  t.equal(encodeEncryptionContext({}).length, 0)
  t.end()
})
