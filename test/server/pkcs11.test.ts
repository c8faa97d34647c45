/** Tests key stores on a SoftHSM token through a real server. */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { checkError, checkSuccess } from '../support/answers.ts'
import { findLeaks, planted } from '../support/leaks.ts'
import { KEY_ID, eventually, keyId, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { backendYaml } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm, createTokenKeys, type TestToken } from '../support/pkcs11/tokens.ts'
import { decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const SEALED = [
  'ciphertext',
  'ciphertextMetadata',
  'initializationVector',
  'authenticationTag',
] as const
const AAD = Buffer.from('project=nile,department=marketing')
const PLAINTEXT = randomBytes(32)
const base64 = (bytes: Buffer) => bytes.toString('base64')

/** The long deadline compensates for a slow test machine; the token itself is fast. */
async function startOnToken(
  t: Test,
  keyStore: object = {},
  softhsm?: TestToken,
): Promise<TestServer> {
  softhsm ??= await createSoftHsm(t)
  return startTestServer(t, {
    config: {
      keyStores: [{ name: 'demo', prefix: '/demo', backend: 'hsm', ...keyStore }],
      backends: [backendYaml(softhsm, { deadlines: { operation: '5s', start: '60s' } })],
      limits: { requestDeadline: '10s' },
    },
  })
}

void t.test('all four operations, with a correct CDIV', async (t) => {
  const server = await startOnToken(t)
  const { call } = await openSession(t, server)
  const metadata = { requestMetadata: requestMetadata('DescribeKey') }
  checkSuccess(t, await call(`/keys/${KEY_ID}/metadata`, metadata), [
    ...['keySpec', 'keyUsage', 'keyStatus'],
  ])
  const body = encryptBody({
    plaintext: base64(PLAINTEXT),
    additionalAuthenticatedData: base64(AAD),
    ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
  })
  const sealed = checkSuccess(t, await call(`/keys/${KEY_ID}/encrypt`, body), [
    ...SEALED,
    'ciphertextDataIntegrityValue',
  ])
  const bytes = (field: string) => Buffer.from(String(sealed[field]), 'base64')
  const cdiv = createHash('sha256')
    .update(AAD)
    .update(bytes('ciphertextMetadata'))
    .update(bytes('initializationVector'))
    .update(bytes('ciphertext'))
    .update(bytes('authenticationTag'))
    .digest('base64')
  t.equal(sealed['ciphertextDataIntegrityValue'], cdiv)
  const opened = await call(
    `/keys/${KEY_ID}/decrypt`,
    decryptBody(sealed, { additionalAuthenticatedData: base64(AAD) }),
  )
  t.same(checkSuccess(t, opened, ['plaintext']), { plaintext: base64(PLAINTEXT) })
  const health = await call('/health', { requestMetadata: requestMetadata('KmsHealthCheck') })
  t.match(JSON.parse(health.body), {
    ekmVendor: 'SoftHSM project',
    ekmFleetDetails: [{ id: 'hsm/xks', healthStatus: 'ACTIVE' }],
  })
  const lines = await server.stopAndReadLog()
  const line = lines.find(({ operation }) => operation === 'Encrypt')
  const stages = line?.['stagesMs'] as Record<string, number> | undefined
  t.ok((stages?.['verify'] ?? 0) > 0, 'what verifying took is told apart')
})

void t.test('dates decide about keys on a token, too', async (t) => {
  const server = await startOnToken(t)
  const { call } = await openSession(t, server)
  const keys = server.administration.keys(server.credential.keyStore)
  const hour = 3_600_000
  const statusOf = async (id: string) =>
    (await call(`/keys/${id}/encrypt`, encryptBody())).json['errorName'] ?? 'done'
  await keys.createKey({
    ...{ keyId: keyId('next'), canEncrypt: true, canDecrypt: true },
    dates: { activateAt: Date.now() + hour },
  })
  // The server may find the key on the token a moment before it reads the key's dates.
  await eventually(async () => (await statusOf('next')) === 'InvalidStateException')
  t.match(await keys.setKeyDates(keyId('next'), { activateAt: null }), { dateState: undefined })
  await eventually(async () => (await statusOf('next')) === 'done')
  const sealed = await call(`/keys/${KEY_ID}/encrypt`, encryptBody())
  await keys.setKeyDates(keyId(KEY_ID), { deactivateAt: Date.now() - hour })
  await eventually(async () => (await statusOf(KEY_ID)) === 'InvalidStateException')
  t.equal((await call(`/keys/${KEY_ID}/decrypt`, decryptBody(sealed.json))).status, 200)
  const listed = await keys.listKeys()
  t.match(
    listed.map(({ keyId: id, dateState }) => [id, dateState]),
    [
      ['next', undefined],
      [KEY_ID, 'DEACTIVATED'],
    ],
  )
  await t.rejects(keys.setKeyDates(keyId('missing'), { activateAt: 1 }), { code: 'KEY_NOT_FOUND' })
})

void t.test('key usage follows CKA_ENCRYPT and CKA_DECRYPT', async (t) => {
  const server = await startOnToken(t)
  await server.createKey('encrypt-only', { decrypt: false })
  await server.createKey('decrypt-only', { encrypt: false })
  const { call } = await openSession(t, server)
  const plain = encryptBody({ plaintext: base64(PLAINTEXT) })
  checkSuccess(t, await call('/keys/encrypt-only/encrypt', plain), SEALED)
  const withCdiv = encryptBody({
    plaintext: base64(PLAINTEXT),
    ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
  })
  checkError(t, await call('/keys/encrypt-only/encrypt', withCdiv), 'InvalidKeyUsageException')
  checkError(t, await call('/keys/decrypt-only/encrypt', plain), 'InvalidKeyUsageException')
})

void t.test('a key that is not AES-256, or forbids AES-GCM, is not a server error', async (t) => {
  const softhsm = await createSoftHsm(t)
  const unusable = ['short', 'medium', 'cbc', 'generic']
  await createTokenKeys(t, softhsm, [
    { label: 'short', bytes: 16 },
    { label: 'medium', bytes: 24 },
    { label: 'cbc', allowed: [0x1082] },
    { label: 'generic', type: 'generic' },
  ])
  const server = await startOnToken(t, {}, softhsm)
  const { call } = await openSession(t, server)
  const http2 = await openHttp2(t, server)
  for (const label of unusable) {
    const metadata = { requestMetadata: requestMetadata('DescribeKey') }
    const path = `/keys/${label}/metadata`
    checkError(t, await call(path, metadata), 'InvalidStateException')
    t.equal(await askHttp2(http2, server, path, JSON.stringify(metadata)), 400)
    checkError(
      t,
      await call(`/keys/${label}/encrypt`, encryptBody({ plaintext: base64(PLAINTEXT) })),
      'InvalidKeyUsageException',
    )
  }
  const health = await call('/health', { requestMetadata: requestMetadata('KmsHealthCheck') })
  t.match(JSON.parse(health.body), { ekmFleetDetails: [{ healthStatus: 'ACTIVE' }] })
  const lines = (await server.stopAndReadLog()).filter(({ reason }) => reason === 'KEY_USAGE')
  t.equal(lines.length, unusable.length * 3, 'the log says why')
})

/** Encrypts as AWS's sample proxy does in its build_full_aad. */
function sealAsSample(material: Buffer, metadata: Buffer, aad: Buffer | undefined) {
  const lengths = Buffer.alloc(2)
  lengths.writeUInt16BE(aad?.length ?? 0)
  const hash = aad === undefined ? Buffer.alloc(0) : createHash('sha256').update(aad).digest()
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', material, iv)
  cipher.setAAD(Buffer.concat([lengths, hash, Buffer.from([metadata.length]), metadata]))
  const ciphertext = Buffer.concat([cipher.update(PLAINTEXT), cipher.final()])
  return {
    requestMetadata: requestMetadata('Decrypt'),
    encryptionAlgorithm: 'AES_GCM',
    ciphertext: base64(ciphertext),
    initializationVector: base64(iv),
    authenticationTag: base64(cipher.getAuthTag()),
    ...(metadata.length === 0 ? {} : { ciphertextMetadata: base64(metadata) }),
    ...(aad === undefined ? {} : { additionalAuthenticatedData: base64(aad) }),
  }
}

void t.test(
  "ciphertexts from AWS's sample proxy decrypt if accepted by the configuration",
  async (t) => {
    const material = randomBytes(32)
    const cases = [
      { metadata: Buffer.alloc(0), aad: undefined },
      { metadata: Buffer.alloc(0), aad: AAD },
      { metadata: Buffer.alloc(0), aad: randomBytes(8192) },
      { metadata: Buffer.from('{"a":1}'), aad: AAD },
      { metadata: randomBytes(20), aad: undefined },
    ].map(({ metadata, aad }) => sealAsSample(material, metadata, aad))
    for (const accept of [['aws-sample'], []]) {
      const server = await startOnToken(t, { accept })
      await server.createKey('moved', { material: new Secret(Buffer.from(material)) })
      const { call } = await openSession(t, server)
      for (const [i, body] of cases.entries()) {
        const answer = await call('/keys/moved/decrypt', body)
        // Without AAD and metadata, both layouts are identical.
        if (accept.length > 0 || i === 0) {
          t.same(JSON.parse(answer.body), { plaintext: base64(PLAINTEXT) }, `case ${String(i)}`)
        } else checkError(t, answer, 'InvalidCiphertextException')
        const tag = Buffer.from(body.authenticationTag, 'base64')
        tag.writeUInt8(tag.readUInt8(0) ^ 1, 0)
        checkError(
          t,
          await call('/keys/moved/decrypt', { ...body, authenticationTag: base64(tag) }),
          'InvalidCiphertextException',
        )
      }
      await server.stop()
    }
  },
)

/** Returns the command lines and environments of this process's child processes. */
function readChildren(): string {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        const parent = /^PPid:\s(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
        if (parent !== String(process.pid)) return ''
        return `${readFileSync(`/proc/${pid}/cmdline`, 'latin1')}\n${readFileSync(`/proc/${pid}/environ`, 'latin1')}`
      } catch {
        return '' // The process has exited in the meantime.
      }
    })
    .join('\n')
}

void t.test('the PIN is in no log line, argument, environment or response', async (t) => {
  const token = await createSoftHsm(t)
  const server = await startOnToken(t, {}, token)
  const { call } = await openSession(t, server)
  const answer = await call(`/keys/${KEY_ID}/encrypt`, encryptBody())
  const children = readChildren()
  t.match(children, /keys\/pkcs11\/worker\/main\.js/, 'the process of the module is among them')
  const log = JSON.stringify(await server.stopAndReadLog())
  t.same(findLeaks(`${children}\n${log}\n${answer.body}`, [planted('the PIN', token.pin)]), [])
})
