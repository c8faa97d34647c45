/** Tests the four operations as KMS calls them. */
// SPDX-License-Identifier: Apache-2.0
import { createDecipheriv, createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { checkError, checkSuccess } from '../support/answers.ts'
import { KEY_ID, eventually, keyId, startTestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const SEALED = [
  'ciphertext',
  'ciphertextMetadata',
  'initializationVector',
  'authenticationTag',
] as const
const PLAINTEXT = Buffer.from('a data key of thirty-two bytes!!')
const AAD = Buffer.from('project=nile,department=marketing')
const describeKey = { requestMetadata: requestMetadata('DescribeKey') }
const health = { requestMetadata: requestMetadata('KmsHealthCheck') }
const base64 = (bytes: Buffer) => bytes.toString('base64')
const bytesOf = (json: Record<string, unknown>, field: string) =>
  Buffer.from(String(json[field]), 'base64')

void t.test('[API-1] all four operations work, and Decrypt reverses Encrypt', async (t) => {
  const { call } = await openSession(t, await startTestServer(t))
  checkSuccess(t, await call(`/keys/${KEY_ID}/metadata`, describeKey), [
    'keySpec',
    'keyUsage',
    'keyStatus',
  ])
  const encrypted = checkSuccess(t, await call(`/keys/${KEY_ID}/encrypt`, encryptBody()), SEALED)
  const decrypted = await call(`/keys/${KEY_ID}/decrypt`, decryptBody(encrypted))
  t.same(checkSuccess(t, decrypted, ['plaintext']), { plaintext: base64(PLAINTEXT) })
  t.equal((await call('/health', health)).status, 200)
})

void t.test('[META-1] a key is AES_256 and ENABLED, and lists its permitted uses', async (t) => {
  const answer = await call(await startTestServer(t), `/keys/${KEY_ID}/metadata`, describeKey)
  t.equal(
    answer.body,
    '{"keySpec":"AES_256","keyUsage":["ENCRYPT","DECRYPT"],"keyStatus":"ENABLED"}',
  )
})

const USAGES = [
  { encrypt: true, decrypt: true, keyUsage: ['ENCRYPT', 'DECRYPT'] },
  { encrypt: true, decrypt: false, keyUsage: ['ENCRYPT'] },
  { encrypt: false, decrypt: true, keyUsage: ['DECRYPT'] },
  { encrypt: false, decrypt: false, keyUsage: [] },
]

void t.test('[META-2] a key supports only the operations in its keyUsage', async (t) => {
  const server = await startTestServer(t, { stopped: true })
  const material = randomBytes(32)
  for (const [i, usage] of USAGES.entries()) {
    // All keys have the same material, so each could decrypt what the first encrypts.
    await server.createKey(`key-${String(i)}`, {
      ...usage,
      material: new Secret(Buffer.from(material)),
    })
  }
  await server.start()
  const { call } = await openSession(t, server)
  const sealed = (await call('/keys/key-0/encrypt', encryptBody())).json
  for (const [i, { encrypt, decrypt, keyUsage }] of USAGES.entries()) {
    const key = `/keys/key-${String(i)}`
    t.same((await call(`${key}/metadata`, describeKey)).json['keyUsage'], keyUsage)
    const encrypted = await call(`${key}/encrypt`, encryptBody())
    if (encrypt) checkSuccess(t, encrypted, SEALED)
    else checkError(t, encrypted, 'InvalidKeyUsageException')
    const decrypted = await call(`${key}/decrypt`, decryptBody(sealed))
    if (decrypt) t.same(decrypted.json, { plaintext: base64(PLAINTEXT) })
    else checkError(t, decrypted, 'InvalidKeyUsageException')
    const body = encryptBody({ ciphertextDataIntegrityValueAlgorithm: 'SHA_256' })
    const withCdiv = await call(`${key}/encrypt`, body)
    if (encrypt && decrypt) t.equal(withCdiv.status, 200)
    else checkError(t, withCdiv, 'InvalidKeyUsageException')
  }
})

void t.test('[META-3] a disabled key is described, but unusable until it is enabled', async (t) => {
  const server = await startTestServer(t)
  const { call } = await openSession(t, server)
  const sealed = (await call(`/keys/${KEY_ID}/encrypt`, encryptBody())).json
  const keys = server.administration.keys(server.credential.keyStore)
  const status = async () => (await call(`/keys/${KEY_ID}/metadata`, describeKey)).json['keyStatus']
  await keys.setKeyStatus(keyId(KEY_ID), 'DISABLED')
  await eventually(async () => (await status()) === 'DISABLED')
  checkError(t, await call(`/keys/${KEY_ID}/encrypt`, encryptBody()), 'InvalidStateException')
  checkError(t, await call(`/keys/${KEY_ID}/decrypt`, decryptBody(sealed)), 'InvalidStateException')
  await keys.setKeyStatus(keyId(KEY_ID), 'ENABLED')
  await eventually(async () => (await status()) === 'ENABLED')
  const opened = await call(`/keys/${KEY_ID}/decrypt`, decryptBody(sealed))
  t.same(opened.json, { plaintext: base64(PLAINTEXT) })
})

void t.test(
  '[META-3] a key is refused before its activation date, and only decrypts after its deactivation date',
  async (t) => {
    const server = await startTestServer(t)
    const { call } = await openSession(t, server)
    const sealed = (await call(`/keys/${KEY_ID}/encrypt`, encryptBody())).json
    const keys = server.administration.keys(server.credential.keyStore)
    const metadata = async () => (await call(`/keys/${KEY_ID}/metadata`, describeKey)).json
    const encrypt = () => call(`/keys/${KEY_ID}/encrypt`, encryptBody())
    const decrypt = () => call(`/keys/${KEY_ID}/decrypt`, decryptBody(sealed))
    const hour = 3_600_000
    await keys.setKeyDates(keyId(KEY_ID), { activateAt: Date.now() + hour })
    await eventually(async () => (await metadata())['keyStatus'] === 'DISABLED')
    checkError(t, await encrypt(), 'InvalidStateException')
    checkError(t, await decrypt(), 'InvalidStateException')

    const past = { activateAt: Date.now() - 2 * hour, deactivateAt: Date.now() - hour }
    await keys.setKeyDates(keyId(KEY_ID), past)
    await eventually(async () => (await decrypt()).status === 200)
    checkError(t, await encrypt(), 'InvalidStateException')
    t.match(await metadata(), { keyStatus: 'ENABLED', keyUsage: ['DECRYPT'] })

    await keys.setKeyDates(keyId(KEY_ID), { activateAt: Date.now() + 1000, deactivateAt: null })
    await eventually(async () => (await encrypt()).status === 200)
    const lines = await server.stopAndReadLog()
    const reasons = new Set(lines.map(({ operation, reason }) => [operation, reason].join(' ')))
    for (const one of [
      ...['Encrypt KEY_NOT_ACTIVE', 'Decrypt KEY_NOT_ACTIVE', 'Encrypt KEY_DEACTIVATED'],
    ]) {
      t.ok(reasons.has(one), one)
    }
  },
)

void t.test('[ENC-5] a CDIV is returned on request, and equals the one KMS computes', async (t) => {
  const { call } = await openSession(t, await startTestServer(t))
  for (const aad of [undefined, Buffer.alloc(0), AAD]) {
    const more = aad === undefined ? {} : { additionalAuthenticatedData: base64(aad) }
    const without = await call(`/keys/${KEY_ID}/encrypt`, encryptBody(more))
    checkSuccess(t, without, SEALED)
    const asked = { ...more, ciphertextDataIntegrityValueAlgorithm: 'SHA_256' }
    const answer = await call(`/keys/${KEY_ID}/encrypt`, encryptBody(asked))
    const json = checkSuccess(t, answer, [...SEALED, 'ciphertextDataIntegrityValue'])
    const expected = createHash('sha256')
      .update(aad ?? '')
      .update(bytesOf(json, 'ciphertextMetadata'))
      .update(bytesOf(json, 'initializationVector'))
      .update(bytesOf(json, 'ciphertext'))
      .update(bytesOf(json, 'authenticationTag'))
      .digest('base64')
    t.equal(json['ciphertextDataIntegrityValue'], expected)
  }
})

void t.test(
  '[ENC-6] [ENC-7] [ENC-11] [ENC-12] [DEC-4] each part has the right length',
  async (t) => {
    const { call } = await openSession(t, await startTestServer(t))
    const ivs = new Set<string>()
    for (const length of [0, 1, 15, 16, 17, 32, 4096, 4300]) {
      const plaintext = randomBytes(length)
      const body = encryptBody({ plaintext: base64(plaintext) })
      const json = checkSuccess(t, await call(`/keys/${KEY_ID}/encrypt`, body), SEALED)
      t.equal(bytesOf(json, 'ciphertext').length, length, `${String(length)} bytes`)
      t.equal(bytesOf(json, 'initializationVector').length, 12)
      t.equal(bytesOf(json, 'authenticationTag').length, 16)
      t.equal(bytesOf(json, 'ciphertextMetadata').length, 5)
      for (const field of SEALED) t.equal(base64(bytesOf(json, field)), json[field], 'Base64')
      ivs.add(String(json['initializationVector']))
      const opened = await call(`/keys/${KEY_ID}/decrypt`, decryptBody(json))
      t.same(checkSuccess(t, opened, ['plaintext']), { plaintext: base64(plaintext) })
    }
    t.equal(ivs.size, 8, 'no IV comes twice')
  },
)

void t.test(
  '[ENC-6] any AES-256-GCM implementation decrypts the result, given the key and the framing',
  async (t) => {
    const server = await startTestServer(t, { stopped: true })
    const material = randomBytes(32)
    await server.createKey('imported', { material: new Secret(Buffer.from(material)) })
    await server.start()
    const body = encryptBody({ additionalAuthenticatedData: base64(AAD) })
    const { json } = await call(server, '/keys/imported/encrypt', body)
    const metadata = bytesOf(json, 'ciphertextMetadata')
    t.equal(metadata.toString('hex'), '0100000001', 'format 1, version 1')
    const decipher = createDecipheriv(
      'aes-256-gcm',
      material,
      bytesOf(json, 'initializationVector'),
    )
    decipher.setAAD(
      Buffer.concat([Buffer.from([0, AAD.length]), AAD, Buffer.from([metadata.length]), metadata]),
    )
    decipher.setAuthTag(bytesOf(json, 'authenticationTag'))
    const opened = Buffer.concat([decipher.update(bytesOf(json, 'ciphertext')), decipher.final()])
    t.same(opened, PLAINTEXT)
  },
)

void t.test(
  '[HLT-4] [HLT-5] [HLT-6] [HLT-8] health names the proxy, its fleet and its key manager',
  async (t) => {
    for (const [config, size] of [
      [{}, 1],
      [{ health: { fleetSize: 3 } }, 3],
    ] as const) {
      const server = await startTestServer(t, { config })
      const json = checkSuccess(t, await call(server, '/health', health), [
        'xksProxyFleetSize',
        'xksProxyVendor',
        'xksProxyModel',
        'ekmVendor',
        'ekmFleetDetails',
      ])
      t.equal(json['xksProxyFleetSize'], size)
      t.equal(json['xksProxyVendor'], 'Latchkey')
      t.match(json['xksProxyModel'], /^Latchkey XKS Proxy \d+\.\d+\.\d+/)
      t.equal(json['ekmVendor'], 'Latchkey')
      const details = json['ekmFleetDetails'] as Record<string, unknown>[]
      t.equal(details.length, 1)
      t.same(Object.keys(details[0] ?? {}), ['id', 'model', 'healthStatus'])
      t.match(details, [{ id: /^[0-9a-f-]{36}$/, model: /\d+\.\d+\.\d+/, healthStatus: 'ACTIVE' }])
      await server.stop()
    }
  },
)

void t.test('[API-1] keys and credentials outlive a restart', async (t) => {
  const server = await startTestServer(t)
  const sealed = (await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())).json
  await server.stop()
  await server.start()
  const opened = await call(server, `/keys/${KEY_ID}/decrypt`, decryptBody(sealed))
  t.same(opened.json, { plaintext: base64(PLAINTEXT) })
})

void t.test(
  "[DEC-4] a rotated key decrypts its older versions' ciphertexts until they are destroyed",
  async (t) => {
    const server = await startTestServer(t)
    const { call } = await openSession(t, server)
    const encrypt = async () => (await call(`/keys/${KEY_ID}/encrypt`, encryptBody())).json
    const version = (json: Record<string, unknown>) =>
      bytesOf(json, 'ciphertextMetadata').readUInt32BE(1)
    const keys = server.administration.keys(server.credential.keyStore)
    const old = await encrypt()
    t.equal(version(old), 1)
    await keys.rotateKey(keyId(KEY_ID))
    await eventually(async () => version(await encrypt()) === 2)
    const opened = async (json: Record<string, unknown>) =>
      call(`/keys/${KEY_ID}/decrypt`, decryptBody(json))
    t.same((await opened(old)).json, { plaintext: base64(PLAINTEXT) })
    t.same((await opened(await encrypt())).json, { plaintext: base64(PLAINTEXT) })
    const relabelled = { ...old, ciphertextMetadata: base64(Buffer.from('0100000002', 'hex')) }
    checkError(t, await opened(relabelled), 'InvalidCiphertextException')
    await keys.destroyVersion(keyId(KEY_ID), 1)
    await eventually(async () => (await opened(old)).status === 400)
    checkError(t, await opened(old), 'InvalidCiphertextException')
    t.same((await opened(await encrypt())).json, { plaintext: base64(PLAINTEXT) })
  },
)
