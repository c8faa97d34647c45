/** Tests the operations over HTTP/2: many streams share a connection without affecting each other. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import http2, { type ClientHttp2Session } from 'node:http2'
import t, { type Test } from 'tap'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { encryptBody, requestMetadata, signedHeaders, type Signing } from '../support/wire.ts'

type Json = Record<string, unknown>

/** Converts signed headers to HTTP/2, where `:authority` replaces Host. The signature covers its value as `host`. */
function toHeaders(server: TestServer, path: string, body: string, signing: Signing = {}) {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(signedHeaders(server, { ...signing, path, body }))) {
    headers[name.toLowerCase() === 'host' ? ':authority' : name.toLowerCase()] = value
  }
  return { ':method': signing.method ?? 'POST', ':path': `${server.uriPath}${path}`, ...headers }
}

async function connect(t: Test, server: TestServer): Promise<ClientHttp2Session> {
  const session = http2.connect(`https://localhost:${String(server.port)}`, {
    ca: readFileSync(server.pki.caFile),
    lookup: (_name, _options, done) => {
      done(null, [{ address: '127.0.0.1', family: 4 }] as never, 4)
    },
  })
  session.on('error', () => undefined)
  t.teardown(() => {
    session.destroy()
  })
  await new Promise((resolve, reject) => {
    session.once('connect', resolve)
    session.once('error', reject)
  })
  return session
}

interface Answer {
  readonly status: number
  readonly headers: http2.IncomingHttpHeaders
  readonly json: Json
}

function send(
  session: ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: false })
    let received: http2.IncomingHttpHeaders = {}
    let text = ''
    stream.setEncoding('utf8')
    stream.on('response', (answered) => {
      received = answered
    })
    stream.on('data', (chunk: string) => {
      text += chunk
    })
    stream.on('error', reject)
    stream.on('close', () => {
      if (text === '') reject(new Error('the stream was closed without an answer'))
      else {
        const json = JSON.parse(text) as Json
        resolve({ status: Number(received[':status']), headers: received, json })
      }
    })
    stream.end(body)
  })
}

function call(
  session: ClientHttp2Session,
  server: TestServer,
  path: string,
  body: Json,
  signing: Signing = {},
): Promise<Answer> {
  const text = JSON.stringify(body)
  return send(session, toHeaders(server, path, text, signing), text)
}

const encryptPath = `/keys/${KEY_ID}/encrypt`
const decryptPath = `/keys/${KEY_ID}/decrypt`
const healthBody = { requestMetadata: requestMetadata('KmsHealthCheck') }

function decryptBody(encrypted: Json): Json {
  return {
    requestMetadata: requestMetadata('Decrypt'),
    encryptionAlgorithm: 'AES_GCM',
    ciphertext: encrypted['ciphertext'],
    ciphertextMetadata: encrypted['ciphertextMetadata'],
    initializationVector: encrypted['initializationVector'],
    authenticationTag: encrypted['authenticationTag'],
  }
}

void t.test('the four operations are served, signed with :authority as host', async (t) => {
  const server = await startTestServer(t)
  const session = await connect(t, server)
  t.equal(session.alpnProtocol, 'h2')
  const encrypted = await call(session, server, encryptPath, encryptBody())
  t.equal(encrypted.status, 200)
  t.equal(encrypted.headers['content-type'], 'application/json')
  t.equal(encrypted.headers.connection, undefined)
  const decrypted = await call(session, server, decryptPath, decryptBody(encrypted.json))
  t.equal(decrypted.status, 200)
  t.same(decrypted.json, { plaintext: encryptBody()['plaintext'] })
  const metadata = { requestMetadata: requestMetadata('DescribeKey') }
  const described = await call(session, server, `/keys/${KEY_ID}/metadata`, metadata)
  t.match(described, { status: 200, json: { keySpec: 'AES_256', keyStatus: 'ENABLED' } })
  t.equal((await call(session, server, '/health', healthBody)).status, 200)
})

void t.test('[AUTH-4] an :authority other than the signed host is refused', async (t) => {
  const server = await startTestServer(t)
  const session = await connect(t, server)
  const text = JSON.stringify(healthBody)
  const headers = { ...toHeaders(server, '/health', text), ':authority': 'elsewhere.example' }
  t.match(await send(session, headers, text), {
    status: 401,
    json: { errorName: 'AuthenticationFailedException' },
  })
})

void t.test('fifty concurrent streams each get their own response', async (t) => {
  const server = await startTestServer(t)
  const session = await connect(t, server)
  const plaintexts = Array.from({ length: 50 }, (_, i) =>
    Buffer.from(`plaintext of stream ${String(i)}`).toString('base64'),
  )
  const opened = await Promise.all(
    plaintexts.map(async (plaintext) => {
      const encrypted = await call(session, server, encryptPath, encryptBody({ plaintext }))
      return (await call(session, server, decryptPath, decryptBody(encrypted.json))).json
    }),
  )
  t.same(
    opened,
    plaintexts.map((plaintext) => ({ plaintext })),
  )
  t.equal(session.closed, false)
})

void t.test('[ERR-2] errors have the right name and status', async (t) => {
  const server = await startTestServer(t)
  const session = await connect(t, server)
  const rows: readonly [string, Promise<Answer>, number, string][] = [
    [
      'unknown key',
      call(session, server, '/keys/nobody/encrypt', encryptBody()),
      404,
      'KeyNotFoundException',
    ],
    ['unknown path', call(session, server, '/keys', encryptBody()), 404, 'InvalidUriPathException'],
    ['GET', call(session, server, encryptPath, {}, { method: 'GET' }), 405, 'ValidationException'],
    ['missing field', call(session, server, encryptPath, {}), 400, 'ValidationException'],
    [
      'wrong secret',
      call(session, server, encryptPath, encryptBody(), { secretAccessKey: 'x'.repeat(44) }),
      401,
      'AuthenticationFailedException',
    ],
    [
      'no signature',
      send(session, { ':method': 'POST', ':path': `${server.uriPath}/health` }, '{}'),
      401,
      'AuthenticationFailedException',
    ],
    [
      'wrong tag',
      call(session, server, decryptPath, {
        ...decryptBody((await call(session, server, encryptPath, encryptBody())).json),
        authenticationTag: Buffer.alloc(16).toString('base64'),
      }),
      400,
      'InvalidCiphertextException',
    ],
  ]
  for (const [name, answering, status, errorName] of rows) {
    const answer = await answering
    t.match({ status: answer.status, ...answer.json }, { status, errorName }, name)
    t.equal(answer.headers['content-type'], 'application/json', name)
  }
})

void t.test('bodies that are too large are refused, and the connection stays open', async (t) => {
  const server = await startTestServer(t)
  const session = await connect(t, server)
  const text = JSON.stringify({ ...encryptBody(), padding: 'x'.repeat(200_000) })
  // Repeat the request: unread bodies must not exhaust the connection's flow-control window.
  for (let i = 0; i < 5; i++) {
    const answer = await send(session, toHeaders(server, encryptPath, text), text)
    t.match(answer, { status: 501, json: { errorName: 'UnsupportedOperationException' } })
    t.equal(answer.headers.connection, undefined)
  }
  t.equal((await call(session, server, encryptPath, encryptBody())).status, 200)
})

void t.test('a stream reset in the middle of its body affects no other', async (t) => {
  const server = await startTestServer(t)
  const session = await connect(t, server)
  const text = JSON.stringify(encryptBody())
  for (let i = 0; i < 20; i++) {
    const stream = session.request(toHeaders(server, encryptPath, text))
    stream.on('error', () => undefined)
    stream.write(text.slice(0, 20))
    const beside = call(session, server, encryptPath, encryptBody())
    stream.close(http2.constants.NGHTTP2_CANCEL)
    t.equal((await beside).status, 200)
  }
  t.equal((await call(session, server, encryptPath, encryptBody())).status, 200)
  t.equal(session.closed, false)
  const log = await server.stopAndReadLog()
  t.equal(log.filter((line) => Number(line['level']) >= 50).length, 0, 'no fault is logged')
})

void t.test('a connection that breaks in the middle of a body affects no other', async (t) => {
  const server = await startTestServer(t)
  const [broken, whole] = [await connect(t, server), await connect(t, server)]
  const text = JSON.stringify(encryptBody())
  const stream = broken.request(toHeaders(server, encryptPath, text))
  stream.on('error', () => undefined)
  stream.write(text.slice(0, 20))
  t.equal((await call(broken, server, encryptPath, encryptBody())).status, 200)
  broken.destroy()
  t.equal((await call(whole, server, encryptPath, encryptBody())).status, 200)
  const log = await server.stopAndReadLog()
  t.equal(log.filter((line) => Number(line['level']) >= 50).length, 0, 'no fault is logged')
})

void t.test('draining sends GOAWAY and lets in-flight streams finish', async (t) => {
  const server = await startTestServer(t, { config: { listener: { drain: { timeout: '60s' } } } })
  const session = await connect(t, server)
  const text = JSON.stringify(encryptBody())
  const stream = session.request(toHeaders(server, encryptPath, text))
  stream.write(text.slice(0, 20))
  // A response to this request proves that the server has received the head of the previous one.
  t.equal((await call(session, server, '/health', healthBody)).status, 200)
  const goaway = new Promise<number>((resolve) => {
    session.once('goaway', resolve)
  })
  const closed = new Promise((resolve) => session.once('close', resolve))
  const answered = new Promise<number>((resolve) => {
    stream.once('response', (headers) => {
      resolve(Number(headers[':status']))
    })
  })
  const stopping = server.stop()
  t.equal(await goaway, http2.constants.NGHTTP2_NO_ERROR)
  stream.end(text.slice(20))
  stream.resume()
  t.equal(await answered, 200)
  await Promise.all([stopping, closed])
})
