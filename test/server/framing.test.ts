/** Tests how requests are framed on a connection: in pieces, chunked, pipelined, truncated, or late. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import http2 from 'node:http2'
import t, { type Test } from 'tap'
import { checkError } from '../support/answers.ts'
import { KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import {
  encryptBody,
  openWire,
  requestBytes,
  requestMetadata,
  signedHeaders,
  signedRequest,
  type Wire,
} from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const METADATA = `/keys/${KEY_ID}/metadata`
const health = { requestMetadata: requestMetadata('KmsHealthCheck') }
const metadataBody = { requestMetadata: requestMetadata('DescribeKey') }

async function start(t: Test): Promise<{ server: TestServer; wire: Wire }> {
  const server = await startTestServer(t)
  const wire = await openWire(server)
  t.teardown(() => {
    wire.destroy()
  })
  return { server, wire }
}

/** Returns a signed Encrypt request whose body is sent in chunks of these sizes. */
function chunked(server: TestServer, sizes: readonly number[], ...trailer: readonly string[]) {
  const body = JSON.stringify(encryptBody())
  const unsigned = ['content-length', 'transfer-encoding']
  const signed = signedHeaders(server, { path: ENCRYPT, body, leftUnsigned: unsigned })
  const headers = Object.fromEntries(
    Object.entries(signed).filter(([name]) => name !== 'Content-Length'),
  )
  let chunks = ''
  let rest = body
  for (const size of [...sizes, Infinity]) {
    const chunk = rest.slice(0, size)
    rest = rest.slice(chunk.length)
    if (chunk !== '') chunks += `${chunk.length.toString(16)};x=y\r\n${chunk}\r\n`
  }
  const target = `${server.uriPath}${ENCRYPT}`
  const end = `0\r\n${trailer.map((line) => `${line}\r\n`).join('')}\r\n`
  return requestBytes(
    { target, headers: { ...headers, 'Transfer-Encoding': 'chunked' } },
    chunks + end,
  )
}

void t.test('a chunked body is equivalent', async (t) => {
  const { server, wire } = await start(t)
  for (const sizes of [[], [1], [1, 2, 3], Array.from({ length: 50 }, () => 1)]) {
    wire.write(chunked(server, sizes))
    t.equal((await wire.answer())?.status, 200)
  }
  wire.write(chunked(server, [10], 'Authorization: AWS4-HMAC-SHA256 x', 'X-Amz-Date: now'))
  t.equal((await wire.answer())?.status, 200, 'trailers are not headers')
})

void t.test('a chunked body has the same size limit', async (t) => {
  const { server, wire } = await start(t)
  const headers = { Host: 'localhost', 'Transfer-Encoding': 'chunked' }
  const target = `${server.uriPath}${ENCRYPT}`
  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
  wire.write(requestBytes({ target, headers }, chunk.repeat(8)))
  checkError(t, await wire.answer(), 'UnsupportedOperationException')
  await wire.closed()
})

void t.test('a request sent byte by byte is equivalent', async (t) => {
  const { server, wire } = await start(t)
  for (const byte of signedRequest(server, ENCRYPT, encryptBody())) {
    wire.write(Buffer.from([byte]))
    if (byte === 0x0a) await new Promise(setImmediate)
  }
  t.equal((await wire.answer())?.status, 200)
})

void t.test(
  '[ERR-2] pipelined requests are answered in order, each by its own signature',
  async (t) => {
    const { callAll } = await openSession(t, await startTestServer(t))
    const wrong = { secretAccessKey: 'x'.repeat(44) }
    const kinds = [
      { request: { path: ENCRYPT, body: encryptBody() }, expected: [200, undefined] },
      { request: { path: METADATA, body: metadataBody }, expected: [200, undefined] },
      {
        request: { path: ENCRYPT, body: encryptBody(), signing: wrong },
        expected: [401, 'AuthenticationFailedException'],
      },
      { request: { path: '/nowhere', body: '{}' }, expected: [404, 'InvalidUriPathException'] },
      { request: { path: '/health', body: health }, expected: [200, undefined] },
      { request: { path: ENCRYPT, body: '{' }, expected: [400, 'ValidationException'] },
      {
        request: { path: METADATA, body: '', signing: { method: 'PUT' } },
        expected: [405, 'ValidationException'],
      },
    ] as const
    const sent = Array.from({ length: 70 }, (_, i) => kinds[(i * 3) % kinds.length] ?? kinds[0])
    const answers = await callAll(sent.map(({ request }) => request))
    t.same(
      answers.map(({ status, json }) => [status, json['errorName']]),
      sent.map(({ expected }) => expected),
    )
  },
)

void t.test('Expect: 100-continue is answered before the body is sent', async (t) => {
  const { server, wire } = await start(t)
  const bytes = signedRequest(server, ENCRYPT, encryptBody(), {
    headers: { Expect: '100-continue' },
  })
  const end = bytes.indexOf('\r\n\r\n') + 4
  wire.write(bytes.subarray(0, end))
  t.equal((await wire.answer())?.status, 100)
  wire.write(bytes.subarray(end))
  t.equal((await wire.answer())?.status, 200)
})

void t.test('[ERR-2] a truncated body is refused, and the connection closed', async (t) => {
  const server = await startTestServer(t)
  const bytes = signedRequest(server, ENCRYPT, encryptBody())
  const chunks = chunked(server, [10, 10])
  const bodyAt = bytes.indexOf('\r\n\r\n') + 4
  for (const cut of [
    bytes.subarray(0, 20),
    bytes.subarray(0, bodyAt - 2),
    bytes.subarray(0, bodyAt),
    bytes.subarray(0, bodyAt + 10),
    bytes.subarray(0, -1),
    chunks.subarray(0, -1),
    chunks.subarray(0, -30),
  ]) {
    const wire = await openWire(server)
    t.teardown(() => {
      wire.destroy()
    })
    wire.socket.end(cut)
    const answer = await wire.answer()
    if (answer !== undefined) checkError(t, answer, 'ValidationException')
    await wire.closed()
  }
  const { call } = await openSession(t, server)
  t.equal((await call(ENCRYPT, encryptBody())).status, 200, 'the server serves on')
  const lines = await server.stopAndReadLog()
  const served = lines.filter(({ operation, reason }) => operation && reason !== 'BODY_CUT_OFF')
  t.same(
    served.map(({ status }) => status),
    [200],
    'no piece of a request was served',
  )
  t.ok(
    lines.every(({ level }) => level === 30),
    'and none is a fault of ours',
  )
})

void t.test('[ERR-2] CONNECT is refused, and ends the connection', async (t) => {
  const { server, wire } = await start(t)
  wire.write('CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const answer = await wire.answer()
  t.match(answer, { status: 405, json: { errorName: 'ValidationException' } })
  await wire.closed()
  const lines = (await server.stopAndReadLog()).filter(({ reason }) => reason === 'CONNECT')
  t.match(lines, [{ msg: 'connection refused', remoteAddress: '127.0.0.1' }])
  t.equal(lines.length, 1)
})

void t.test(
  '[ERR-2] a request that arrives while closing is answered or its connection closed',
  async (t) => {
    const server = await startTestServer(t, { config: { listener: { drain: { timeout: '30s' } } } })
    const wire = await openWire(server)
    const { port } = server
    const bytes = signedRequest(server, ENCRYPT, encryptBody())
    const late = signedRequest(server, '/health', health)
    // The response to the first request proves that the server has received the head of the second.
    wire.write(Buffer.concat([signedRequest(server, '/health', health), bytes.subarray(0, -10)]))
    t.equal((await wire.answer())?.status, 200)
    const stopping = server.stop()
    await eventually(async () => {
      const other = Object.create(server, { port: { value: port } }) as TestServer
      return openWire(other).then(
        (opened) => {
          opened.destroy()
          return false
        },
        () => true,
      )
    })
    wire.write(Buffer.concat([bytes.subarray(-10), late]))
    const answer = await wire.answer()
    t.equal(answer?.status, 200)
    t.equal(answer?.headers.get('connection'), 'close')
    t.equal(await wire.answer(), undefined, 'what came behind it was not begun')
    await wire.closed()
    await stopping
  },
)

async function startHttp2(t: Test) {
  const server = await startTestServer(t)
  const session = http2.connect(`https://127.0.0.1:${String(server.port)}`, {
    rejectUnauthorized: false,
  })
  t.teardown(() => {
    session.destroy()
  })
  const request = (more: Record<string, string>) =>
    session.request({ ':method': 'POST', ':path': `${server.uriPath}/health`, ...more })
  return { server, session, request }
}

void t.test('[ERR-2] on HTTP/2 an unknown expectation has an errorName too', async (t) => {
  const { request } = await startHttp2(t)
  const stream = request({ expect: 'a-miracle' })
  stream.setEncoding('utf8').end()
  const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
  let body = ''
  for await (const chunk of stream) body += String(chunk)
  t.equal(headers[':status'], 401)
  t.match(JSON.parse(body), { errorName: 'AuthenticationFailedException' })
})

void t.test('[ERR-2] a truncated HTTP/2 stream is not logged as an internal error', async (t) => {
  const { server, session, request } = await startHttp2(t)
  const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = http2.constants
  /**
   * Begins a request, and waits for the response to a second one, which proves that the server has received the first.
   */
  const begin = async () => {
    const stream = request({ 'content-length': '100' })
    stream.on('error', () => undefined)
    stream.write('{"request')
    const other = request({})
    other.end()
    await once(other, 'response')
    other.resume()
    return stream
  }
  for (const code of [NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR]) {
    const stream = await begin()
    stream.close(code)
    await new Promise((resolve) => stream.once('close', resolve))
  }
  await begin()
  session.destroy()
  const { call } = await openSession(t, server)
  t.equal((await call('/health', health)).status, 200)
  const lines = await server.stopAndReadLog()
  t.same(
    lines.filter(({ level }) => level !== 30),
    [],
  )
})
