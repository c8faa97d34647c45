/** Binds servers to addresses. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import type { Server } from 'node:net'
import { limitConnections } from '../core/connection-slots.ts'
import { createPingServer, type Ping } from './ping.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface BoundServer {
  readonly address: Address
  close(): Promise<void>
}

/** Resolves to the address on which `server` listens, with port 0 replaced by the selected port. */
export function listen(server: Server, at: Address): Promise<Address> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(at.port, at.host, () => {
      server.removeListener('error', reject)
      const bound = server.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : at.port
      resolve({ host: at.host, port })
    })
  })
}

/**
 * Starts the plain-HTTP port for load balancers. It stays open while the TLS port drains, so that
 * it can return 503.
 */
export async function startPingServer(ping: Ping, at: Address): Promise<BoundServer> {
  const server = createPingServer(ping)
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

/** Version 0.0.4 of Prometheus's text format. */
const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
const MAX_CONNECTIONS = 20

/** @param text must settle within a bounded time; if it rejects, the scrape gets a 503 */
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
  limitConnections(server, MAX_CONNECTIONS)
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
