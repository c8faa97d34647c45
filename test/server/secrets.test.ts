/** Runs a server with recognizable secrets, none of which may appear in its output. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { copyFile, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { SoftwareKey } from '../../src/keys/software/gcm.ts'
import { Secret } from '../../src/core/secret.ts'
import { findLeaks, formsOf, planted, type Planted } from '../support/leaks.ts'
import { testPki } from '../support/pki.ts'
import {
  KEY_ID,
  REGION,
  eventually,
  keyId,
  startTestServer,
  type TestServer,
} from '../support/server.ts'
import {
  call,
  encryptBody,
  exchange,
  openWire,
  requestBytes,
  requestMetadata,
  signedHeaders,
  signedRequest,
  type Signing,
} from '../support/wire.ts'

const CANARY = 'canary-request-id-6f1c'
const encryptPath = `/keys/${KEY_ID}/encrypt`
const decryptPath = `/keys/${KEY_ID}/decrypt`

/** Distinctive values that cannot occur by chance. */
const PLAINTEXT = `planted plaintext ${randomBytes(16).toString('hex')}`
const RAW_PLAINTEXT = randomBytes(64)
const MATERIAL = randomBytes(32)
const base64 = (value: Buffer | string) => Buffer.from(value).toString('base64')

function findAuthorization(bytes: Buffer): readonly Planted[] {
  const [, header = ''] = /^Authorization: (.*)\r$/m.exec(bytes.toString('latin1')) ?? []
  const [, signature = ''] = /Signature=([0-9a-f]{64})/.exec(header) ?? []
  return [planted('signature', signature), planted('authorization', header)]
}

/** Records all data that the server sends, and the secrets that must not appear in it. */
class Run {
  readonly heard: string[] = []
  readonly secrets: Planted[]
  readonly #server: TestServer

  constructor(server: TestServer, secrets: readonly Planted[]) {
    this.#server = server
    this.secrets = [...secrets]
  }

  /** Sends bytes and records the response, which must contain no secret. */
  async send(bytes: Buffer | string): Promise<number> {
    const answer = await exchange(this.#server, bytes)
    this.heard.push(answer.body, ...answer.headers.values())
    return answer.status
  }

  async call(path: string, body: string | Buffer | Record<string, unknown>, signing: Signing = {}) {
    const bytes = signedRequest(this.#server, path, body, signing)
    this.secrets.push(...findAuthorization(bytes))
    return this.send(bytes)
  }
}

async function succeed(t: Test, server: TestServer): Promise<void> {
  for (const plaintext of [PLAINTEXT, RAW_PLAINTEXT]) {
    const metadata = { requestMetadata: requestMetadata('Encrypt', { kmsRequestId: CANARY }) }
    const body = encryptBody({
      ...metadata,
      plaintext: base64(plaintext),
      ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
    })
    const encrypted = await call(server, encryptPath, body)
    t.equal(encrypted.status, 200)
    const { ciphertext, ciphertextMetadata, initializationVector, authenticationTag } =
      encrypted.json
    const sealed = { ciphertext, ciphertextMetadata, initializationVector, authenticationTag }
    const decrypted = await call(server, decryptPath, {
      ...metadata,
      encryptionAlgorithm: 'AES_GCM',
      ...sealed,
    })
    t.equal(decrypted.json['plaintext'], base64(plaintext))
  }
}

async function failInEveryWay(t: Test, server: TestServer, run: Run): Promise<void> {
  const plaintext = base64(PLAINTEXT)
  const good = encryptBody({ plaintext })
  const wrongSecret = { secretAccessKey: base64(randomBytes(32)) }
  run.secrets.push(planted('a wrong secret access key', wrongSecret.secretAccessKey))
  const decrypt = {
    requestMetadata: requestMetadata('Decrypt'),
    encryptionAlgorithm: 'AES_GCM',
    ciphertext: plaintext,
    initializationVector: base64(Buffer.alloc(12)),
    authenticationTag: base64(Buffer.alloc(16)),
  }
  const statuses = [
    await run.call(encryptPath, JSON.stringify(good).slice(0, -1)),
    await run.call(encryptPath, `${PLAINTEXT} is no JSON`),
    await run.call(encryptPath, { ...good, plaintext: PLAINTEXT }),
    await run.call(encryptPath, { ...good, plaintext: { nested: plaintext } }),
    await run.call(encryptPath, { ...good, encryptionAlgorithm: PLAINTEXT }),
    await run.call(encryptPath, { ...good, additionalAuthenticatedData: PLAINTEXT }),
    await run.call(encryptPath, { plaintext }),
    await run.call(encryptPath, { ...good, plaintext: base64(PLAINTEXT.repeat(100)) }),
    await run.call(encryptPath, JSON.stringify({ ...good, padding: PLAINTEXT.repeat(2000) })),
    await run.call(encryptPath, good, { headers: { 'Content-Type': 'text/plain' } }),
    await run.call('/keys/nobody/encrypt', good),
    await run.call('/keys/disabled/encrypt', good),
    await run.call(decryptPath, decrypt),
    await run.call(decryptPath, { ...decrypt, initializationVector: base64('short') }),
    await run.call(encryptPath, good, wrongSecret),
    await run.call(encryptPath, good, { at: Date.now() - 3_600_000 }),
    await run.call(encryptPath, good, { region: 'eu-west-1' }),
    await run.call(encryptPath, good, { method: 'PUT' }),
  ]
  t.same(
    statuses.filter((status) => status < 400),
    [],
    'all of them failed',
  )
  const body = JSON.stringify(good)
  const target = `${server.uriPath}${encryptPath}`
  const headers = signedHeaders(server, { path: encryptPath, body })
  const authorization = headers['Authorization'] ?? ''
  run.secrets.push(planted('a whole authorization', authorization))
  for (const broken of [
    authorization.replace('Signature=', 'Signature=x'),
    authorization.replace('AWS4-HMAC-SHA256', 'Bearer'),
    server.credential.secretAccessKey.reveal(),
  ]) {
    const sent = { ...headers, Authorization: broken }
    t.equal(await run.send(requestBytes({ target, headers: sent }, body)), 401)
  }
  t.equal(await run.send(`${PLAINTEXT} ${authorization}\r\n\r\n`), 400)
  const long = `X-Long: ${authorization.repeat(100)}`
  t.equal(await run.send(`POST ${target} HTTP/1.1\r\nHost: localhost\r\n${long}\r\n\r\n`), 431)
  const wire = await openWire(server)
  wire.write(requestBytes({ target, headers }, body).subarray(0, -20))
  wire.destroy()
}

/** Makes encryption fail with an unexpected error. Only the responses to such errors are logged with a stack trace. */
async function crash(t: Test, run: Run): Promise<void> {
  const { prototype } = SoftwareKey
  const seal = Object.getOwnPropertyDescriptor(prototype, 'seal')
  prototype.seal = () => {
    throw new Error('the device is on fire')
  }
  try {
    t.equal(await run.call(encryptPath, encryptBody({ plaintext: base64(PLAINTEXT) })), 500)
  } finally {
    Object.defineProperty(prototype, 'seal', seal ?? {})
  }
}

async function rotateCredentials(server: TestServer, run: Run): Promise<void> {
  const { administration, credential } = server
  const second = await administration.credentials.create(credential.keyStore)
  const secretAccessKey = second.secretAccessKey.reveal()
  run.secrets.push(planted('the second secret access key', secretAccessKey))
  const signing = { accessKeyId: second.accessKeyId, secretAccessKey }
  const health = { requestMetadata: requestMetadata('KmsHealthCheck') }
  await eventually(async () => (await run.call('/health', health, signing)) === 200)
  await administration.credentials.revoke(credential.accessKeyId)
  await eventually(async () => (await run.call('/health', health)) === 401)
}

async function tamper(server: TestServer, run: Run): Promise<void> {
  const database = new Database(server.config.store.path, { timeout: 60_000 })
  database.exec(`UPDATE external_keys SET can_decrypt = 0 WHERE key_id = '${KEY_ID}'`)
  database.exec("UPDATE facts SET value = value + 1 WHERE name = 'epoch'")
  database.close()
  await eventually(
    async () => (await run.send('GET /ping?deep HTTP/1.1\r\nHost: localhost\r\n\r\n')) === 503,
  )
  // The health check may detect the tampering before the poll that logs it.
  await eventually(async () => (await readFile(server.logFile, 'utf8')).includes('STORE_TAMPERED'))
}

void t.test(
  '[ENC-2] [LOG-2] no secret appears in the log or a response during a complete run',
  async (t) => {
    const folder = t.testdir()
    const certificate = join(folder, 'tls.crt')
    const pem = await startPem(certificate)
    const server = await startTestServer(t, {
      config: {
        logging: { level: 'debug' },
        keyStores: [{ name: 'demo', prefix: '/demo', regions: [REGION] }],
        health: { interval: '100ms' },
        listener: { tls: { certificate, privateKey: pem.privateKeyFile } },
      },
    })
    const { masterKey } = server.config.store
    if (masterKey.kind !== 'file') throw new TypeError('the master key is no file')
    const run = new Run(server, [
      planted('plaintext', PLAINTEXT),
      planted('raw plaintext', RAW_PLAINTEXT),
      planted('imported material', MATERIAL),
      planted('secret access key', server.credential.secretAccessKey.reveal()),
      planted('its bytes', Buffer.from(server.credential.secretAccessKey.reveal(), 'base64')),
      planted('master key', await readFile(masterKey.path)),
      planted('TLS private key', pem.secretLine),
    ])
    await server.createKey('imported', { material: new Secret(Buffer.from(MATERIAL)) })
    await server.createKey('disabled')
    await server.administration
      .keys(server.credential.keyStore)
      .setKeyStatus(keyId('disabled'), 'DISABLED')
    await eventually(async () => (await run.call('/keys/imported/encrypt', encryptBody())) === 200)
    await succeed(t, server)
    await failInEveryWay(t, server, run)
    await crash(t, run)
    await rotateCredentials(server, run)
    await run.send('GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await copyFile(pem.privateKeyFile, certificate)
    await t.rejects(server.running.reloadCertificates())
    await tamper(server, run)
    await server.stop()

    const log = await readFile(server.logFile, 'utf8')
    t.equal((await stat(server.logFile)).mode & 0o777, 0o600, 'the log is for its owner')
    t.ok(log.split('\n').length > 25)
    t.match(log, /the device is on fire/)
    t.match(log, /STORE_TAMPERED/)
    t.same(findLeaks(log, run.secrets), [])
    t.ok(run.heard.length > 25)
    t.same(findLeaks(run.heard.join('\n'), run.secrets), [])
    // Check the search itself by looking for values that the log and the responses do contain.
    t.same(findLeaks(log, [planted('canary', CANARY)]), ['canary'])
    t.same(findLeaks(run.heard.join('\n'), [planted('known', 'InternalException')]), ['known'])
  },
)

async function startPem(certificate: string) {
  const pki = await testPki()
  await copyFile(pki.certificateFile, certificate)
  const secretLine = (await readFile(pki.privateKeyFile, 'utf8')).split('\n')[3] ?? ''
  return { privateKeyFile: pki.privateKeyFile, secretLine }
}

void t.test('[LOG-2] the search finds a secret in every form', (t) => {
  for (const bytes of [Buffer.from(PLAINTEXT), RAW_PLAINTEXT]) {
    const secret = [planted('secret', bytes)]
    const forms = [
      bytes.toString('hex'),
      bytes.toString('hex').toUpperCase(),
      bytes.toString('base64'),
      bytes.toString('base64url'),
      Buffer.concat([Buffer.from('x'), bytes]).toString('base64'),
      Buffer.concat([Buffer.from('xy'), bytes]).toString('base64url'),
      bytes.toString('latin1'),
      JSON.stringify(bytes),
      JSON.stringify({ text: bytes.toString('utf8') }),
      bytes.subarray(0, 20).toString('hex'),
      ...formsOf(bytes),
    ]
    for (const form of forms) t.same(findLeaks(`{"field":"${form}"}`, secret), ['secret'])
    t.same(findLeaks(JSON.stringify({ field: 'nothing of the kind' }), secret), [])
  }
  t.end()
})
