/** Tests every error in the specification's table that software keys can return, for each operation. */
// SPDX-License-Identifier: Apache-2.0
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { checkError, type ErrorName } from '../support/answers.ts'
import { KEY_ID, eventually, keyId, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import {
  type Answer,
  call,
  decryptBody,
  encryptBody,
  exchange,
  openWire,
  requestBytes,
  requestMetadata,
  signedHeaders,
  type Signing,
} from '../support/wire.ts'

type Json = Record<string, unknown>

const OPERATIONS = ['metadata', 'encrypt', 'decrypt', 'health'] as const
type Operation = (typeof OPERATIONS)[number]

const KEYS = ['metadata', 'encrypt', 'decrypt'] as const
const CRYPTO = ['encrypt', 'decrypt'] as const

const pathOf = (operation: Operation, key: string = KEY_ID) =>
  operation === 'health' ? '/health' : `/keys/${key}/${operation}`

const ZEROS = {
  ciphertext: 'AAAA',
  ciphertextMetadata: 'AQAAAAE=',
  initializationVector: 'AAAAAAAAAAAAAAAA',
  authenticationTag: 'AAAAAAAAAAAAAAAAAAAAAA==',
}

/** Returns a body that the server accepts. */
function bodyOf(operation: Operation): Json {
  if (operation === 'encrypt') return encryptBody()
  if (operation === 'decrypt') return decryptBody(ZEROS)
  return { requestMetadata: requestMetadata(operation) }
}

interface Row {
  readonly errorName: ErrorName
  readonly operations: readonly Operation[]
  readonly key?: string
  readonly signing?: Signing
  readonly change?: (body: Json) => Json | string
}

/** ThrottlingException is tested in key-stores.test.ts, and InternalException in unit/xks/pipeline.test.ts. */
const ROWS: readonly Row[] = [
  { errorName: 'ValidationException', operations: OPERATIONS, change: () => ({}) },
  { errorName: 'InvalidStateException', operations: CRYPTO, key: 'disabled' },
  { errorName: 'InvalidCiphertextException', operations: ['decrypt'] },
  { errorName: 'InvalidKeyUsageException', operations: CRYPTO, key: 'impotent' },
  {
    errorName: 'AuthenticationFailedException',
    operations: OPERATIONS,
    signing: { secretAccessKey: 'x'.repeat(44) },
  },
  { errorName: 'KeyNotFoundException', operations: KEYS, key: 'missing' },
  { errorName: 'InvalidUriPathException', operations: KEYS, key: 'a/b' },
  {
    errorName: 'UnsupportedOperationException',
    operations: CRYPTO,
    change: (body) => ({ ...body, encryptionAlgorithm: 'AES_CBC' }),
  },
]

async function startWithKeys(t: Test): Promise<TestServer> {
  const server = await startTestServer(t, { stopped: true })
  await server.createKey('impotent', { encrypt: false, decrypt: false })
  const disabled = await server.createKey('disabled')
  const keys = server.administration.keys(server.credential.keyStore)
  await keys.setKeyStatus(keyId(disabled), 'DISABLED')
  await server.start()
  return server
}

void t.test('[API-3] the error table, by operation', async (t) => {
  const { call } = await openSession(t, await startWithKeys(t))
  for (const { errorName, operations, key, signing, change } of ROWS) {
    for (const operation of operations) {
      const body = bodyOf(operation)
      const answer = await call(pathOf(operation, key), change?.(body) ?? body, signing)
      checkError(t, answer, errorName)
    }
  }
})

void t.test('[API-3] another method on an operation is a 405 that names POST', async (t) => {
  const server = await startTestServer(t)
  for (const operation of OPERATIONS) {
    const path = pathOf(operation)
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']) {
      const body = method === 'GET' || method === 'TRACE' ? '' : '{}'
      const answer = await call(server, path, body, { method })
      checkError(t, answer, 'ValidationException', {
        status: 405,
        message: 'The only allowed method is POST.',
      })
      t.equal(answer.headers.get('allow'), 'POST', `${method} ${path}`)
    }
    const target = `${server.uriPath}${path}`
    const unsigned = requestBytes({ method: 'GET', target, headers: { Host: 'localhost' } })
    checkError(t, await exchange(server, unsigned), 'ValidationException', { status: 405 })
  }
})

void t.test('[API-3] HEAD on an operation is a 405 without a body', async (t) => {
  const server = await startTestServer(t)
  for (const operation of OPERATIONS) {
    const headers = signedHeaders(server, { path: pathOf(operation), method: 'HEAD' })
    const wire = await openWire(server)
    let received = ''
    wire.socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')))
    const target = `${server.uriPath}${pathOf(operation)}`
    wire.write(
      requestBytes({ method: 'HEAD', target, headers: { ...headers, Connection: 'close' } }),
    )
    await wire.closed()
    t.match(received, /^HTTP\/1\.1 405 /)
    t.match(received, /\r\nallow: POST\r\n/)
    t.ok(received.endsWith('\r\n\r\n'), 'nothing follows the headers')
  }
})

void t.test(
  'a path without an operation is an InvalidUriPathException for any method',
  async (t) => {
    const server = await startTestServer(t)
    const { uriPath } = server
    const targets = [
      '/',
      '/demo',
      uriPath,
      `${uriPath}/`,
      `${uriPath}/invalid`,
      `${uriPath}/health/`,
      `${uriPath}/Health`,
      `${uriPath}//health`,
      `${uriPath}/health?`,
      `${uriPath}/health?a=b`,
      `${uriPath}/keys`,
      `${uriPath}/keys/${KEY_ID}`,
      `${uriPath}/keys/${KEY_ID}/`,
      `${uriPath}/keys/${KEY_ID}/sign`,
      `${uriPath}/keys/${KEY_ID}/encrypt/`,
      `${uriPath}/keys//encrypt`,
      `${uriPath}/keys/./encrypt`,
      `${uriPath}/keys/../encrypt`,
      `${uriPath}/keys/a%20b/encrypt`,
      `${uriPath}/keys/a%2Fb/encrypt`,
      `${uriPath}/keys/~/encrypt`,
      '/kms/xks/v1/health',
      '/demo2/kms/xks/v1/health',
      '/demo/kms/xks/v2/health',
      '/demo/demo/kms/xks/v1/health',
      '/DEMO/kms/xks/v1/health',
      `http://localhost${uriPath}/health`,
      '*',
    ]
    for (const target of targets) {
      for (const method of ['POST', 'GET']) {
        const headers = { Host: 'localhost', 'Content-Type': 'application/json' }
        const body = method === 'POST' ? '{}' : ''
        const sized = { ...headers, 'Content-Length': String(body.length) }
        const answer = await exchange(
          server,
          requestBytes({ method, target, headers: sized }, body),
        )
        t.equal(answer.status, 404, `${method} ${target}`)
        checkError(t, answer, 'InvalidUriPathException')
      }
    }
  },
)

/** Any algorithm name other than AES_GCM or SHA_256 is refused, whether or not the rest of the request is valid. */
void t.test(
  '[ENC-3] AES_GCM and SHA_256 are the only algorithms, by their exact names',
  async (t) => {
    const { call } = await openSession(t, await startTestServer(t))
    const others = [
      '',
      'AES-GCM',
      'aes_gcm',
      'AES_GCM ',
      'AES_256_GCM',
      'RSAES_OAEP_SHA_256',
      'NONE',
    ]
    for (const encryptionAlgorithm of others) {
      for (const operation of CRYPTO) {
        const body = { ...bodyOf(operation), encryptionAlgorithm }
        checkError(t, await call(pathOf(operation), body), 'UnsupportedOperationException', {
          message: 'The only supported encryptionAlgorithm is AES_GCM.',
        })
      }
    }
    for (const name of ['', 'SHA256', 'sha_256', 'SHA_512', 'MD5']) {
      const body = encryptBody({ ciphertextDataIntegrityValueAlgorithm: name })
      checkError(t, await call(pathOf('encrypt'), body), 'UnsupportedOperationException', {
        message: 'The only supported ciphertextDataIntegrityValueAlgorithm is SHA_256.',
      })
    }
  },
)

void t.test('[NET-1] another content type is a ValidationException', async (t) => {
  const server = await startTestServer(t)
  const { call } = await openSession(t, server)
  const types = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
    'json',
    ';',
  ]
  for (const type of [...types, 'application/json-patch+json', 'application/', '*/*']) {
    for (const operation of OPERATIONS) {
      const signing = { headers: { 'Content-Type': type } }
      checkError(
        t,
        await call(pathOf(operation), bodyOf(operation), signing),
        'ValidationException',
        {
          message: 'The content type must be application/json.',
        },
      )
    }
  }
  for (const type of [
    'application/json; charset=utf-8',
    'APPLICATION/JSON',
    'application/json ;x',
  ]) {
    const signing = { headers: { 'Content-Type': type } }
    t.equal((await call(pathOf('encrypt'), bodyOf('encrypt'), signing)).status, 200, type)
  }
})

void t.test('[NET-1] without a content type it is a ValidationException too', async (t) => {
  const server = await startTestServer(t)
  for (const operation of OPERATIONS) {
    const body = JSON.stringify(bodyOf(operation))
    const path = pathOf(operation)
    const signed = signedHeaders(server, { path, body, leftUnsigned: ['content-type'] })
    const headers = Object.fromEntries(
      Object.entries(signed).filter(([name]) => name !== 'Content-Type'),
    )
    const target = `${server.uriPath}${path}`
    checkError(
      t,
      await exchange(server, requestBytes({ target, headers }, body)),
      'ValidationException',
      {
        message: 'The content type must be application/json.',
      },
    )
  }
})

void t.test('a store that blocks the first encryption causes a timeout', async (t) => {
  const server = await startTestServer(t, { config: { limits: { requestDeadline: '300ms' } } })
  // On a busy machine, a request may also exceed this deadline for other reasons, so retry. Each condition lasts until
  // the test ends it.
  const until = (operation: Operation, isExpected: (answer: Answer) => boolean) =>
    eventually(async () => isExpected(await call(server, pathOf(operation), bodyOf(operation))))
  const database = new Sqlite(server.config.store.path)
  t.teardown(() => database.close())
  database.exec('BEGIN IMMEDIATE')
  await until('encrypt', ({ json }) => json['errorName'] === 'DependencyTimeoutException')
  await until('metadata', ({ status }) => status === 200)
  t.pass('what needs no store goes on')
  database.exec('ROLLBACK')
  await until('encrypt', ({ status }) => status === 200)
})
