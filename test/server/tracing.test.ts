/** Tests traces as a collector receives them: an OTLP/HTTP receiver decodes what a real server sends. */
// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { call, encryptBody, requestMetadata } from '../support/wire.ts'

interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly { readonly key: string; readonly value: Record<string, unknown> }[]
  readonly status: { readonly code?: number }
}

interface Export {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: Span['attributes'] }
    readonly scopeSpans: readonly { readonly spans: readonly Span[] }[]
  }[]
}

async function receiver(t: Test) {
  const received: { text: string; path: string; type: string | undefined }[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    request.on('end', () => {
      received.push({ text, path: request.url ?? '', type: request.headers['content-type'] })
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { received, endpoint: `http://127.0.0.1:${String(port)}/v1/traces` }
}

const valueOf = ({ attributes }: Pick<Span, 'attributes'>, key: string) => {
  const value = attributes.find((one) => one.key === key)?.value
  return value === undefined ? undefined : Object.values(value)[0]
}

void t.test('a request is a span with its stages and kmsRequestId', async (t) => {
  const { received, endpoint } = await receiver(t)
  const server = await startTestServer(t, { config: { tracing: { endpoint } } })
  const body = encryptBody({ ciphertextDataIntegrityValueAlgorithm: 'SHA_256' })
  const { kmsRequestId } = body['requestMetadata'] as { kmsRequestId: string }
  await call(server, `/keys/${KEY_ID}/encrypt`, body)
  await call(server, '/keys/none/metadata', { requestMetadata: requestMetadata('DescribeKey') })
  const secret = server.credential.secretAccessKey.reveal()
  await server.stop()

  t.ok(received.length > 0, 'the rest is sent when the server stops')
  for (const { path, type } of received) t.same([path, type], ['/v1/traces', 'application/json'])
  const exports = received.map(({ text }) => JSON.parse(text) as Export)
  const [resource] = exports.flatMap(({ resourceSpans }) => resourceSpans)
  t.equal(resource && valueOf(resource.resource, 'service.name'), 'latchkey')
  const spans = exports.flatMap(({ resourceSpans }) =>
    resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)),
  )
  const [encrypt] = spans.filter(({ name }) => name === 'Encrypt')
  if (encrypt === undefined) throw new Error('no span of the request')
  t.equal(valueOf(encrypt, 'kmsRequestId'), kmsRequestId)
  t.equal(valueOf(encrypt, 'keyStore'), 'demo')
  t.equal(Number(valueOf(encrypt, 'http.response.status_code')), 200)
  t.equal(encrypt.kind, 2, 'a server span')
  t.notOk(encrypt.parentSpanId)
  const stages = spans.filter(({ parentSpanId }) => parentSpanId === encrypt.spanId)
  t.same(
    stages.map(({ name }) => name),
    ['read', 'auth', 'decode', 'gate', 'key', 'policy', 'backend', 'verify', 'encode'],
  )
  t.ok(stages.every(({ traceId }) => traceId === encrypt.traceId))
  const lengthOf = (span: Span) =>
    Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6
  const sum = stages.reduce((total, stage) => total + lengthOf(stage), 0)
  t.ok(Math.abs(sum - lengthOf(encrypt)) < 0.1, 'the stages are the whole')
  const [missing] = spans.filter(({ name }) => name === 'GetKeyMetadata')
  t.equal(missing && valueOf(missing, 'errorName'), 'KeyNotFoundException')

  const all = received.map(({ text }) => text).join('')
  for (const private_ of [secret, String(body['plaintext']), KEY_ID, 'arn:aws'])
    t.notMatch(all, private_)
})

void t.test('an unreachable collector has no effect on requests', async (t) => {
  const endpoint = 'http://127.0.0.1:9/v1/traces'
  const server = await startTestServer(t, { config: { tracing: { endpoint } } })
  const { status } = await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  t.equal(status, 200)
  await server.stop()
})
