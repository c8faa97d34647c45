/** Tests what KMS callers see for each kind of proxy failure, triggering the real cause where possible. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import type { ProxyConfiguration } from '../../src/kms/emulator/custom-key-store.ts'
import { HEALTHY, startFakeProxy, type FakeAnswer } from '../support/fake-proxy.ts'
import { SERVER_CERTIFICATE, newAuthority, testPki } from '../support/pki.ts'
import { eventually, KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { ALICE, connect, PROXY, standIn } from '../support/stand-in.ts'

function proxyOf(server: TestServer): ProxyConfiguration {
  return {
    ...PROXY,
    uriPath: server.uriPath,
    accessKeyId: server.credential.accessKeyId,
    rawSecretAccessKey: server.credential.secretAccessKey,
  }
}

/** The long deadline keeps a busy machine from causing refusals; other tests cover refusals. */
const PATIENT = { limits: { requestDeadline: '20s' } }

const reachOf = (server: TestServer) => ({ port: server.port, caFile: server.pki.caFile })

void t.test(
  'a key store with wrong settings is not created, and KMS reports the cause',
  async (t) => {
    const server = await startTestServer(t, { config: PATIENT })
    const { kms } = standIn(t, reachOf(server))
    const rows: readonly (readonly [string, Partial<ProxyConfiguration>, string])[] = [
      [
        'a wrong secret',
        { rawSecretAccessKey: new Secret('B'.repeat(43)) },
        'XksProxyIncorrectAuthenticationCredentialException',
      ],
      [
        'an id that the proxy does not know',
        { accessKeyId: 'ABCDEFGHIJKLMNOPQRST' },
        'XksProxyIncorrectAuthenticationCredentialException',
      ],
      ['a wrong path', { uriPath: '/other/kms/xks/v1' }, 'XksProxyInvalidConfigurationException'],
      ['another name', { uriEndpoint: 'https://example.com' }, 'XksProxyUriUnreachableException'],
      ['a port', { uriEndpoint: 'https://localhost:8443' }, 'ValidationException'],
      ['an id with a 1', { accessKeyId: 'ABCDEFGHIJKLMNOPQRS1' }, 'ValidationException'],
      ['a short secret', { rawSecretAccessKey: new Secret('A'.repeat(42)) }, 'ValidationException'],
    ]
    for (const [what, change, code] of rows) {
      const proxy = { ...proxyOf(server), ...change }
      await t.rejects(kms.stores.create({ name: 'store', proxy }), { code }, what)
    }
    const id = await connect(kms, proxyOf(server))
    await t.rejects(
      kms.stores.create({ name: 'store', proxy: { ...proxyOf(server), uriPath: '/b/kms/xks/v1' } }),
      { code: 'CustomKeyStoreNameInUseException' },
    )
    await t.rejects(kms.stores.create({ name: 'other', proxy: proxyOf(server) }), {
      code: 'XksProxyUriInUseException',
    })
    t.equal(kms.stores.get(id).state, 'CONNECTED')
  },
)

void t.test('ConnectCustomKeyStore ends in FAILED with a code for the cause', async (t) => {
  const server = await startTestServer(t, { config: PATIENT })
  const pki = await testPki()
  const stranger = await newAuthority('a CA that KMS does not know')
  const foreign = await pki.issue('foreign', SERVER_CERTIFICATE, stranger)
  const otherServer = await startTestServer(t, {
    config: {
      ...PATIENT,
      listener: {
        tls: { certificate: foreign.certificateFile, privateKey: foreign.privateKeyFile },
      },
    },
  })
  const target = { port: server.port, caFile: pki.caFile }
  const services = new Map([['com.amazonaws.vpce.us-east-1.vpce-svc-0123456789', 'localhost']])
  const { kms } = standIn(t, target, {
    vpcEndpointServices: services,
    reach: () => ({ connectTo: { host: '127.0.0.1', port: target.port }, caFile: target.caFile }),
  })
  // KMS first calls a VPC endpoint service when it connects the key store, so any error is reported only then.
  const tryOne = async (change: Partial<ProxyConfiguration>) => {
    const proxy: ProxyConfiguration = {
      ...proxyOf(server),
      connectivity: 'VPC_ENDPOINT_SERVICE',
      vpcEndpointServiceName: 'com.amazonaws.vpce.us-east-1.vpce-svc-0123456789',
      ...change,
    }
    const { id } = await kms.stores.create({ name: 'vpc', proxy })
    kms.stores.connect(id)
    const { state, errorCode } = await kms.stores.settled(id)
    if (state === 'FAILED') {
      t.throws(
        () => {
          kms.stores.connect(id)
        },
        { code: 'CustomKeyStoreInvalidStateException' },
        'one that failed is to be disconnected first',
      )
    }
    kms.stores.disconnect(id)
    await kms.stores.delete(id)
    return errorCode ?? state
  }
  t.equal(await tryOne({}), 'CONNECTED')
  t.equal(await tryOne({ rawSecretAccessKey: new Secret('B'.repeat(43)) }), 'INVALID_CREDENTIALS')
  t.equal(await tryOne({ uriPath: '/other/kms/xks/v1' }), 'XKS_PROXY_INVALID_CONFIGURATION')
  t.equal(
    await tryOne({ vpcEndpointServiceName: 'com.amazonaws.vpce.us-east-1.vpce-svc-9' }),
    'XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND',
  )
  t.equal(
    await tryOne({ uriEndpoint: 'https://other.example.com' }),
    'XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION',
  )
  target.port = otherServer.port
  t.equal(await tryOne({}), 'XKS_PROXY_INVALID_TLS_CONFIGURATION', 'a CA that is not trusted')
  target.port = server.port
  await server.stop()
  t.equal(await tryOne({}), 'XKS_PROXY_NOT_REACHABLE', 'nobody listens')
})

void t.test('CreateKey checks the external key first', async (t) => {
  const server = await startTestServer(t, { config: PATIENT })
  const { kms } = standIn(t, reachOf(server))
  const customKeyStoreId = await connect(kms, proxyOf(server))
  await server.createKey('encrypts-only', { decrypt: false })
  const disabled = await server.createKey('disabled')
  const [store] = server.config.keyStores
  if (store === undefined) throw new TypeError('no key store')
  await server.administration.keys(store.name).setKeyStatus(disabled, 'DISABLED')
  const client = server.client()
  await eventually(async () => {
    const { body } = await client.getKeyMetadata(disabled)
    return (body as { keyStatus?: string }).keyStatus === 'DISABLED'
  })
  const create = (xksKeyId: string) => kms.createKey(ALICE, { customKeyStoreId, xksKeyId })
  await t.rejects(create('none'), { code: 'XksKeyNotFoundException' })
  await t.rejects(create('encrypts-only'), { code: 'XksKeyInvalidConfigurationException' })
  await t.rejects(create('disabled'), { code: 'XksKeyInvalidConfigurationException' })
  await t.rejects(create('no/slash'), { code: 'ValidationException' })
  await create(KEY_ID)
  await t.rejects(create(KEY_ID), { code: 'XksKeyAlreadyInUseException' })
  kms.stores.disconnect(customKeyStoreId)
  await t.rejects(create('another'), { code: 'CustomKeyStoreInvalidStateException' })
})

void t.test(
  'every failure of a cryptographic operation is a KMSInvalidStateException',
  async (t) => {
    const server = await startTestServer(t, { config: PATIENT })
    const { kms, reports } = standIn(t, reachOf(server))
    const customKeyStoreId = await connect(kms, proxyOf(server))
    const key = await kms.createKey(ALICE, { customKeyStoreId, xksKeyId: KEY_ID })
    const { ciphertextBlob } = await kms.generateDataKey(ALICE, {
      keyId: key.keyId,
      encryptionContext: { tenant: '7' },
    })
    const decrypt = (encryptionContext: Record<string, string>, blob = ciphertextBlob) =>
      kms.decrypt(ALICE, { ciphertextBlob: blob, encryptionContext })
    await t.rejects(decrypt({ tenant: '8' }), { code: 'KMSInvalidStateException' }, 'other context')
    t.equal(reports.at(-1)?.failure, 'InvalidCiphertextException', 'the proxy itself refused it')
    const flipped = Buffer.from(ciphertextBlob)
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1
    await t.rejects(decrypt({ tenant: '7' }, flipped), { code: 'KMSInvalidStateException' })
    await t.rejects(decrypt({}, Buffer.from('x')), { code: 'InvalidCiphertextException' })
    kms.stores.disconnect(customKeyStoreId)
    await t.rejects(decrypt({ tenant: '7' }), { code: 'KMSInvalidStateException' })
    t.equal(kms.keyState(key), 'Unavailable')
  },
)

void t.test('a proxy whose key managers are all unavailable cannot be registered', async (t) => {
  const answer = (states: readonly string[]): FakeAnswer => ({
    status: 200,
    body: {
      ...(HEALTHY.body as Record<string, unknown>),
      ekmFleetDetails: states.map((healthStatus) => ({ id: 'a', model: 'b', healthStatus })),
    },
  })
  let states = ['UNAVAILABLE', 'UNAVAILABLE']
  const proxy = await startFakeProxy(t, () => answer(states))
  const { kms } = standIn(t, proxy)
  await t.rejects(connect(kms), { code: 'XksProxyUriUnreachableException' })
  states = ['UNAVAILABLE', 'DEGRADED']
  await t.resolves(connect(kms))
})

void t.test('a response that KMS cannot interpret', async (t) => {
  const health = HEALTHY.body as Record<string, unknown>
  const rows: readonly (readonly [string, FakeAnswer, string])[] = [
    ['no JSON', { status: 200, body: 'ok' }, 'XksProxyInvalidResponseException'],
    ['no errorName', { status: 404, body: 'nothing' }, 'XksProxyInvalidResponseException'],
    [
      'an unknown errorName',
      { status: 400, body: { errorName: 'Oops' } },
      'XksProxyInvalidResponseException',
    ],
    [
      'a fleet of none',
      { status: 200, body: { ...health, xksProxyFleetSize: 0 } },
      'XksProxyInvalidResponseException',
    ],
    [
      'no key manager',
      { status: 200, body: { ...health, ekmFleetDetails: [] } },
      'XksProxyInvalidResponseException',
    ],
    [
      'throttling',
      { status: 429, body: { errorName: 'ThrottlingException' } },
      'XksProxyUriUnreachableException',
    ],
    [
      'a key manager that is slow',
      { status: 503, body: { errorName: 'DependencyTimeoutException' } },
      'XksProxyUriUnreachableException',
    ],
    [
      'a fault',
      { status: 500, body: { errorName: 'InternalException' } },
      'XksProxyInvalidResponseException',
    ],
  ]
  let answer: FakeAnswer = HEALTHY
  const proxy = await startFakeProxy(t, () => answer)
  const { kms } = standIn(t, proxy)
  for (const [what, next, code] of rows) {
    answer = next
    await t.rejects(connect(kms), { code }, what)
  }
})

void t.test('KMS gives up after 250 ms, tries once more, and then fails', async (t) => {
  const seen = (t: Test, delays: readonly number[]) =>
    startFakeProxy(t, (_path, _body, count) => ({ ...HEALTHY, delayMs: delays[count - 1] ?? 0 }))
  // Both attempts of the first call time out.
  const slow = await seen(t, [5000, 5000])
  const { kms, reports } = standIn(t, slow, { timeoutMs: 250 })
  await t.rejects(connect(kms), { code: 'XksProxyUriUnreachableException' })
  t.match(reports[0], { attempts: 2, failure: 'TIMEOUT' })
  const { totalMs = 0 } = reports[0] ?? {}
  t.ok(totalMs >= 495, `${String(totalMs)} ms for two attempts`)

  const slowOnce = await seen(t, [5000])
  // The timeout is longer than KMS's, so that a busy machine has time for the second attempt.
  const second = standIn(t, slowOnce, { timeoutMs: 1000 })
  await connect(second.kms)
  t.match(second.reports[0], { attempts: 2, failure: undefined })
  t.equal(slowOnce.requests.length, 3, 'two for creating, one for connecting')
})
