/**
 * Tests requests that Fastify or Node.js would otherwise handle by themselves: the server must send a JSON response
 * with an errorName or close the connection, and never hang.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { checkError, type ErrorName } from '../support/answers.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { encryptBody, exchange, openWire, requestMetadata, signedRequest } from '../support/wire.ts'

const NODE_MAJOR = Number(process.versions.node.split('.')[0])

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const health = { requestMetadata: requestMetadata('KmsHealthCheck') }

/** Returns the head of an unsigned POST, with additional header lines. */
function head(target: string, ...more: readonly string[]): string {
  const lines = ['Host: localhost', 'Content-Type: application/json', ...more]
  return `POST ${target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`
}

/** Checks that the listener is still serving. */
async function checkServing(t: Test, server: TestServer): Promise<void> {
  const answer = await exchange(server, signedRequest(server, '/health', health))
  t.equal(answer.status, 200, 'the next request is served')
}

interface Row {
  readonly name: string
  readonly send: (server: TestServer) => Buffer | string
  readonly errorName: ErrorName
  /** Expected status, if HTTP requires a different status than the error table. */
  readonly status?: number
  /** Whether the server closes the connection after the response. */
  readonly closes?: boolean
}

const ROWS: readonly Row[] = [
  {
    name: 'malformed JSON',
    send: (server) => signedRequest(server, ENCRYPT, '{"plaintext"'),
    errorName: 'ValidationException',
  },
  {
    name: 'a body that is too large',
    send: (server) => signedRequest(server, ENCRYPT, 'x'.repeat(60_000)),
    errorName: 'UnsupportedOperationException',
    closes: true,
  },
  {
    name: 'a body that says it is too large, and does not come',
    send: ({ uriPath }) => head(`${uriPath}${ENCRYPT}`, 'Content-Length: 99999999999'),
    errorName: 'UnsupportedOperationException',
    closes: true,
  },
  {
    name: 'a wrong content type',
    send: (server) =>
      signedRequest(server, ENCRYPT, encryptBody(), { headers: { 'Content-Type': 'text/xml' } }),
    errorName: 'ValidationException',
  },
  {
    name: 'an unknown path',
    send: () => head('/nowhere', 'Content-Length: 0'),
    errorName: 'InvalidUriPathException',
  },
  {
    name: 'GET on an operation',
    send: ({ uriPath }) => `GET ${uriPath}/health HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    errorName: 'ValidationException',
    status: 405,
  },
  {
    name: 'GET on an operation, with a body',
    send: ({ uriPath }) =>
      `GET ${uriPath}/health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}`,
    errorName: 'ValidationException',
    status: 405,
  },
  {
    name: 'a percent sign that encodes nothing',
    send: ({ uriPath }) => head(`${uriPath}/keys/%zz/encrypt`, 'Content-Length: 0'),
    errorName: 'InvalidUriPathException',
  },
  {
    name: 'an encoded path',
    send: ({ uriPath }) => head(`${uriPath}/%68ealth`, 'Content-Length: 0'),
    errorName: 'InvalidUriPathException',
  },
  ...[101, 128].map((length) => ({
    name: `a key id of ${String(length)} characters`,
    send: (server: TestServer) =>
      signedRequest(server, `/keys/${'k'.repeat(length)}/encrypt`, encryptBody()),
    errorName: 'KeyNotFoundException' as const,
  })),
  {
    name: 'garbage instead of HTTP',
    send: () => '\u0001\u0002\u0003 garbage\r\n\r\n',
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'HTTP/2 without having agreed on it',
    send: () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'a version of HTTP that there is not',
    send: ({ uriPath }) => `POST ${uriPath}/health HTTP/1.7\r\nHost: localhost\r\n\r\n`,
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'a method that there is not',
    send: ({ uriPath }) => `FETCH ${uriPath}/health HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'headers over 16 KiB',
    send: ({ uriPath }) => head(`${uriPath}/health`, `X-Long: ${'h'.repeat(17_000)}`),
    errorName: 'ValidationException',
    status: 431,
    closes: true,
  },
  {
    name: 'a target over 16 KiB',
    send: () => head(`/${'p'.repeat(17_000)}`),
    errorName: 'ValidationException',
    status: 431,
    closes: true,
  },
  {
    name: 'a target of nearly 16 KiB',
    send: () => head(`/${'p'.repeat(15_000)}`, 'Content-Length: 0'),
    errorName: 'InvalidUriPathException',
  },
  {
    name: 'more headers than Node counts',
    send: ({ uriPath }) =>
      head(`${uriPath}/health`, ...Array.from({ length: 2500 }, () => 'a:b'), 'Content-Length: 0'),
    // Node.js 24 and later reject these requests themselves.
    ...(NODE_MAJOR < 24
      ? { errorName: 'AuthenticationFailedException' }
      : { errorName: 'ValidationException', status: 431, closes: true }),
  },
  {
    name: 'a header with a control character',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'X-A: \u0000'),
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'a header line that is folded',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'X-A: 1', ' 2', 'Content-Length: 0'),
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'white space before the colon of a header',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'X-A : 1'),
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'Content-Length beside Transfer-Encoding',
    send: ({ uriPath }) =>
      `${head(`${uriPath}/health`, 'Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'Content-Length twice, differing',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'Content-Length: 0', 'Content-Length: 5'),
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'Content-Length twice, the same',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'Content-Length: 0', 'Content-Length: 0'),
    errorName: 'ValidationException',
    closes: true,
  },
  ...['-1', '+5', '0x5', '5,5', 'five', '99999999999999999999999'].map((length) => ({
    name: `Content-Length: ${length}`,
    send: ({ uriPath }: TestServer) => head(`${uriPath}/health`, `Content-Length: ${length}`),
    errorName: 'ValidationException' as const,
    closes: true,
  })),
  ...['gzip', 'chunked, gzip', 'xchunked'].map((coding) => ({
    name: `Transfer-Encoding: ${coding}`,
    send: ({ uriPath }: TestServer) =>
      `${head(`${uriPath}/health`, `Transfer-Encoding: ${coding}`)}0\r\n\r\n`,
    errorName: 'ValidationException' as const,
    closes: true,
  })),
  {
    name: 'a chunk of no size',
    send: ({ uriPath }) =>
      `${head(`${uriPath}/health`, 'Transfer-Encoding: chunked')}zz\r\nab\r\n0\r\n\r\n`,
    errorName: 'ValidationException',
    closes: true,
  },
  {
    name: 'no Host header',
    send: ({ uriPath }) => `POST ${uriPath}/health HTTP/1.1\r\nContent-Length: 0\r\n\r\n`,
    errorName: 'AuthenticationFailedException',
  },
  {
    name: 'two Host headers',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'Host: localhost', 'Content-Length: 0'),
    errorName: 'AuthenticationFailedException',
  },
  {
    name: 'HTTP/1.0',
    send: ({ uriPath }) => `POST ${uriPath}/health HTTP/1.0\r\nContent-Length: 0\r\n\r\n`,
    errorName: 'AuthenticationFailedException',
    closes: true,
  },
  {
    name: 'an expectation that nobody can meet',
    send: ({ uriPath }) => head(`${uriPath}/health`, 'Expect: a-miracle', 'Content-Length: 0'),
    errorName: 'AuthenticationFailedException',
  },
  {
    name: 'an upgrade to a WebSocket',
    send: ({ uriPath }) =>
      head(`${uriPath}/health`, 'Connection: Upgrade', 'Upgrade: websocket', 'Content-Length: 0'),
    errorName: 'AuthenticationFailedException',
  },
  {
    name: 'an absolute target',
    send: ({ uriPath }) => head(`https://localhost${uriPath}/health`, 'Content-Length: 0'),
    errorName: 'InvalidUriPathException',
  },
]

void t.test('[ERR-2] every response to an invalid request has an errorName', async (t) => {
  const server = await startTestServer(t)
  for (const { name, send, errorName, status, closes } of ROWS) {
    await t.test(name, async (t) => {
      const wire = await openWire(server)
      t.teardown(() => {
        wire.destroy()
      })
      wire.write(send(server))
      const answer = await wire.answer(20_000)
      checkError(t, answer, errorName, status === undefined ? {} : { status })
      if (closes === true) await wire.closed(20_000)
      else {
        wire.write(signedRequest(server, '/health', health))
        t.equal((await wire.answer())?.status, 200, 'the connection goes on')
      }
    })
  }
  await checkServing(t, server)
  const lines = await server.stopAndReadLog()
  t.same(
    lines.filter(({ level }) => Number(level) > 30),
    [],
    'none of it is a fault of ours',
  )
  const encoded = lines.find(({ target }) => String(target).includes('%zz'))
  t.match(encoded, { msg: 'request', status: 404, time: /^20/, totalMs: Number })
})
