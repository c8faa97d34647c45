/**
 * Tests HTTP requirements: bodies without a content type, unknown methods, Host alongside :authority, and transfer
 * codings.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import type http2 from 'node:http2'
import t, { type Test } from 'tap'
import { openHttp2, toHttp2Headers } from '../support/http2.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { encryptBody, openWire, requestBytes, signedHeaders } from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const body = JSON.stringify(encryptBody())

async function ask(
  t: Test,
  server: TestServer,
  headers: http2.OutgoingHttpHeaders,
  sent: string | null = body,
) {
  const session = await openHttp2(t, server)
  const stream = session.request(headers, { endStream: sent === null })
  let text = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => (text += chunk))
  if (sent !== null) stream.end(sent)
  const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  if (!stream.readableEnded) await once(stream, 'end')
  return { status: answer[':status'], json: JSON.parse(text || '{}') as unknown }
}

/** Returns the signed headers without content-type and content-length. */
function bareHeaders(server: TestServer): Record<string, string> {
  const unsigned = ['content-type', 'content-length']
  const headers = signedHeaders(server, { path: ENCRYPT, body, leftUnsigned: unsigned })
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !unsigned.includes(name.toLowerCase())),
  )
}

const NO_TYPE = {
  errorName: 'ValidationException',
  errorMessage: 'The content type must be application/json.',
}

void t.test(
  'a body without content-type and content-length is read, on both versions',
  async (t) => {
    const server = await startTestServer(t)
    const headers = bareHeaders(server)
    const wire = await openWire(server)
    const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const target = `${server.uriPath}${ENCRYPT}`
    wire.write(
      requestBytes({ target, headers: { ...headers, 'Transfer-Encoding': 'chunked' } }, chunk),
    )
    const first = await wire.answer()
    wire.destroy()
    t.same([first?.status, first?.json], [400, NO_TYPE])

    const { Host: authority, ...others } = headers
    const second = await ask(t, server, {
      ':method': 'POST',
      ':path': target,
      ':authority': authority,
      ...others,
    })
    t.same([second.status, second.json], [400, NO_TYPE])
    const typed = { ...others, 'content-type': 'application/json' }
    const third = await ask(t, server, {
      ':method': 'POST',
      ':path': target,
      ':authority': authority,
      ...typed,
    })
    t.equal(third.status, 200, 'the length is not needed')
  },
)

void t.test('on HTTP/2 a body that is too large is refused without a length as well', async (t) => {
  const server = await startTestServer(t)
  const headers = { ':method': 'POST', ':path': `${server.uriPath}${ENCRYPT}` }
  t.match(await ask(t, server, headers, 'x'.repeat(200_000)), {
    status: 501,
    json: { errorName: 'UnsupportedOperationException' },
  })
})

void t.test('on HTTP/2 every method is answered and logged', async (t) => {
  const server = await startTestServer(t)
  const methods = ['FOO', 'PROPFIND', 'M-SEARCH', 'TRACE', 'patch', 'BREW', 'QUERY']
  for (const method of methods) {
    for (const sent of [null, body]) {
      const headers = { ':method': method, ':path': `${server.uriPath}${ENCRYPT}` }
      t.match(
        await ask(t, server, headers, sent),
        { status: 405, json: { errorName: 'ValidationException' } },
        `${method} ${sent === null ? 'without' : 'with'} a body`,
      )
    }
  }
  const lines = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
  t.same(
    lines.map(({ status }) => status),
    Array(2 * methods.length).fill(405),
  )
})

void t.test('on HTTP/2 a Host that differs from :authority is refused', async (t) => {
  const server = await startTestServer(t)
  const headers = toHttp2Headers(server, ENCRYPT, body)
  const same = await ask(t, server, { ...headers, host: headers[':authority'] })
  t.equal(same.status, 200, 'the same is allowed')
  const authority = { ...headers, ':authority': 'elsewhere.example', host: headers[':authority'] }
  for (const differing of [authority, { ...headers, host: 'elsewhere.example' }]) {
    t.match(await ask(t, server, differing), {
      status: 400,
      json: {
        errorName: 'ValidationException',
        errorMessage: 'The Host header differs from :authority.',
      },
    })
  }
  const lines = (await server.stopAndReadLog()).filter(({ reason }) => reason === 'HOST_DIFFERS')
  t.equal(lines.length, 2)
})

void t.test('on HTTP/1.1 the only transfer coding is chunked', async (t) => {
  const server = await startTestServer(t)
  const others: Record<string, string> = {
    ...bareHeaders(server),
    'Content-Type': 'application/json',
  }
  const target = `${server.uriPath}${ENCRYPT}`
  const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
  const send = async (coding: string) => {
    const wire = await openWire(server)
    wire.write(requestBytes({ target, headers: { ...others, 'Transfer-Encoding': coding } }, chunk))
    const answer = await wire.answer()
    wire.destroy()
    return answer
  }
  for (const coding of ['chunked', 'Chunked', 'CHUNKED'])
    t.equal((await send(coding))?.status, 200, coding)
  for (const coding of ['gzip, chunked', 'deflate,chunked', 'identity, chunked', 'x, chunked']) {
    const answer = await send(coding)
    t.equal(answer?.status, 501, coding)
    t.equal(answer?.json['errorName'], 'UnsupportedOperationException')
    t.equal(answer?.headers.get('connection'), 'close')
  }
})

void t.test('on HTTP/1.0 there is no transfer coding', async (t) => {
  const server = await startTestServer(t)
  const wire = await openWire(server)
  const chunk = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
  const headers = {
    ...bareHeaders(server),
    ...{ 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' },
    Connection: 'keep-alive',
  }
  const request = requestBytes({ target: `${server.uriPath}${ENCRYPT}`, headers }, chunk)
  wire.write(request.toString('latin1').replace('HTTP/1.1', 'HTTP/1.0'))
  const answer = await wire.answer()
  t.match(answer, { status: 400, json: { errorName: 'ValidationException' } })
  t.equal(answer?.headers.get('connection'), 'close')
  await wire.closed()
})

void t.test('HTTP errors apply to /ping and to unknown paths too', async (t) => {
  const server = await startTestServer(t)
  for (const target of ['/ping', '/elsewhere']) {
    for (const [version, coding] of [
      ['1.1', 'gzip, chunked'],
      ['1.0', 'chunked'],
    ] as const) {
      const wire = await openWire(server)
      const head = `GET ${target} HTTP/${version}\r\nHost: localhost\r\nConnection: keep-alive\r\n`
      wire.write(`${head}Transfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`)
      const answer = await wire.answer()
      t.ok((answer?.status ?? 0) >= 400, `${target} with ${coding}, HTTP/${version}`)
      t.ok(answer?.json['errorName'])
      t.equal(answer?.headers.get('connection'), 'close')
      await wire.closed()
    }
  }
  const differing = {
    ...{ ':method': 'GET', ':path': '/ping', ':authority': 'localhost' },
    host: 'elsewhere.example',
  }
  const { status } = await ask(t, server, differing, null)
  t.ok(Number(status) >= 400, '/ping whose Host differs from :authority')
})

void t.test('on HTTP/2 CONNECT is refused, logged, and ends the session', async (t) => {
  const server = await startTestServer(t)
  const session = await openHttp2(t, server)
  const closed = once(session, 'close')
  const stream = session.request({ ':method': 'CONNECT', ':authority': 'localhost:443' })
  let text = ''
  stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  stream.end()
  await closed
  t.equal(answer[':status'], 405)
  t.match(JSON.parse(text), { errorName: 'ValidationException' })
  const lines = (await server.stopAndReadLog()).filter(({ reason }) => reason === 'CONNECT')
  t.match(lines, [{ msg: 'connection refused', remoteAddress: '127.0.0.1' }])
})
