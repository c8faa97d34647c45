/** GET /metrics in plain HTTP, on a port of its own, for Prometheus. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import { listen, type Address, type BoundServer } from './listen.ts'

/** Prometheus's text format 0.0.4. */
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
const MAX_CONNECTIONS = 20

/** @param text never rejects for long: a scrape that fails is answered with 503 */
export async function startMetricsServer(
  text: () => Promise<string>,
  at: Address,
): Promise<BoundServer> {
  const server = http.createServer(
    { requestTimeout: 5000, headersTimeout: 5000, connectionsCheckingInterval: 1000 },
    (request, response) => {
      const isRead = request.method === 'GET' || request.method === 'HEAD'
      if (!isRead || request.url !== '/metrics') {
        response.writeHead(404).end()
        return
      }
      text().then(
        (body) => response.writeHead(200, { 'content-type': CONTENT_TYPE }).end(body),
        () => response.writeHead(503).end(),
      )
    },
  )
  server.maxConnections = MAX_CONNECTIONS
  const address = await listen(server, at)
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve()
        })
        server.closeAllConnections()
      }),
  }
}
