/** An XKS proxy over TLS that returns the responses set by a test, without checking signatures. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { testPki } from './pki.ts'

export interface FakeAnswer {
  readonly status: number
  /** Strings are sent unchanged, anything else as JSON. */
  readonly body: unknown
  readonly delayMs?: number
}

export interface FakeProxy {
  readonly port: number
  readonly caFile: string
  /** Path and body of each request received. */
  readonly requests: { readonly path: string; readonly body: Record<string, unknown> }[]
}

export async function startFakeProxy(
  t: Test,
  answer: (path: string, body: Record<string, unknown>, count: number) => FakeAnswer,
): Promise<FakeProxy> {
  const pki = await testPki()
  const requests: FakeProxy['requests'] = []
  const server = createServer(
    { cert: readFileSync(pki.certificateFile), key: readFileSync(pki.privateKeyFile) },
    (request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const path = request.url ?? ''
        const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>
        requests.push({ path, body })
        const { status, body: reply, delayMs = 0 } = answer(path, body, requests.length)
        setTimeout(() => {
          response.writeHead(status, { 'content-type': 'application/json' })
          response.end(typeof reply === 'string' ? reply : JSON.stringify(reply))
        }, delayMs).unref()
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, caFile: pki.caFile, requests }
}

/** The health response of a working proxy. */
export const HEALTHY: FakeAnswer = {
  status: 200,
  body: {
    xksProxyFleetSize: 1,
    xksProxyVendor: 'Test',
    xksProxyModel: 'Test 1',
    ekmVendor: 'Test',
    ekmFleetDetails: [{ id: 'a', model: 'b', healthStatus: 'ACTIVE' }],
  },
}
