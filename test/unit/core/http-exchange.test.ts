/** Tests that the client reads a response up to its size limit, and no further. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { exchange } from '../../../src/core/http-exchange.ts'

const LIMIT = 1000

async function serving(t: Test, answer: http.RequestListener): Promise<number> {
  const server = http.createServer(answer).listen(0, '127.0.0.1')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

void t.test('a response up to the limit is read completely', async (t) => {
  const port = await serving(t, (request, response) => {
    request.resume()
    response.writeHead(418).end('a'.repeat(LIMIT))
  })
  const answer = await exchange(http.request({ port, method: 'POST' }), '{}', LIMIT)
  t.strictSame(answer, { status: 418, text: 'a'.repeat(LIMIT) })
})

void t.test('an endless response is abandoned at the limit', async (t) => {
  const port = await serving(t, (request, response) => {
    request.resume()
    const send = () => {
      while (!response.destroyed && response.write('a'.repeat(100)));
      response.once('drain', send)
    }
    send()
  })
  await t.rejects(
    exchange(http.request({ port }), undefined, LIMIT),
    /expected a response of at most 1000 bytes/,
  )
})

void t.test('a truncated response and a port without a listener are errors', async (t) => {
  const port = await serving(t, (_request, response) => {
    response.writeHead(200, { 'content-length': '10' })
    response.write('half', () => response.destroy())
  })
  await t.rejects(exchange(http.request({ port }), undefined))
  await t.rejects(exchange(http.request({ port: 1 }), undefined), { code: 'ECONNREFUSED' })
})
