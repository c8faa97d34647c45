/** A webhook receiver: an HTTPS server that records requests and responds as the test specifies. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import http, { type IncomingHttpHeaders, type RequestListener } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { testPki } from './pki.ts'

export interface Received {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface TestReceiver {
  readonly url: string
  readonly received: readonly Received[]
  /** Returns the JSON bodies received so far. */
  messages(): readonly Record<string, unknown>[]
  /** Sets the status for all further responses. With `hang`, the receiver sends no response. */
  answer(status: number | 'hang', text?: string): void
}

export async function startReceiver(
  t: Test,
  { isPlain = false }: { readonly isPlain?: boolean } = {},
): Promise<TestReceiver> {
  const pki = await testPki()
  const received: Received[] = []
  let status: number | 'hang' = 200
  let refusal = 'not now'
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { url: path = '', headers } = request
      received.push({ path, headers, body: Buffer.concat(chunks).toString('utf8') })
      if (status === 'hang') return
      response.writeHead(status).end(status < 300 ? 'ok' : refusal)
    })
  }
  const server = isPlain
    ? http.createServer(listener)
    : https.createServer(
        { cert: readFileSync(pki.certificateFile), key: readFileSync(pki.privateKeyFile) },
        listener,
      )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `${isPlain ? 'http' : 'https'}://127.0.0.1:${String(port)}/`,
    received,
    messages: () => received.map(({ body }) => JSON.parse(body) as Record<string, unknown>),
    answer(next, text = 'not now') {
      status = next
      refusal = text
    },
  }
}
