/** The HTTP server under the admin listener, with its connection limits. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import type { Clock } from '../core/clock.ts'
import { limitConnections, tcpBelow } from '../core/connection-slots.ts'

const REQUEST_TIMEOUT_MS = 10_000
const HEADERS_TIMEOUT_MS = 5000
const KEEP_ALIVE_MS = 60_000
const HANDSHAKE_TIMEOUT_MS = 10_000
const MAX_CONNECTIONS = 256
/**
 * Maximum age of a connection. An older connection closes after its next response, and idle
 * connections close sooner in any case.
 */
const MAX_AGE_MS = 3_600_000

export interface BareServer {
  readonly server: http.Server
  /**
   * Protects a connection from eviction. Call after a request on the connection has been
   * authenticated.
   */
  prove(socket: Socket): void
}

export interface BareServerDeps {
  /** Absent for plain HTTP. */
  readonly tls: SecureContextOptions | undefined
  readonly requestCert: boolean
  readonly clock: Clock
  readonly handler: http.RequestListener
  readonly onRefused: (reason: string, remoteAddress: string | undefined) => void
  /** Maximum number of connections. Only tests set it. */
  readonly maxConnections?: number
}

export function createBareServer(deps: BareServerDeps): BareServer {
  const timeouts = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: 1000,
  }
  const { clock } = deps
  const endsAt = new WeakMap<Socket, number>()
  const handler: http.RequestListener = (request, response) => {
    const { socket } = request
    slots.of(socket).touch()
    if (clock.monotonic() >= (endsAt.get(tcpBelow(socket)) ?? 0)) response.shouldKeepAlive = false
    deps.handler(request, response)
  }
  const server =
    deps.tls === undefined
      ? http.createServer(timeouts, handler)
      : https.createServer(
          {
            ...timeouts,
            ...deps.tls,
            handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
            // The handshake accepts clients without a valid certificate, because a bearer token is
            // also accepted. A certificate without a valid chain identifies no caller
            // (authenticate.ts).
            requestCert: deps.requestCert,
            rejectUnauthorized: false,
          },
          handler,
        )
  const slots = limitConnections(server, deps.maxConnections ?? MAX_CONNECTIONS, (socket) => {
    deps.onRefused('CONNECTIONS_FULL', socket.remoteAddress)
  })
  server.on('connection', (socket: Socket) => {
    endsAt.set(socket, clock.monotonic() + MAX_AGE_MS)
  })
  // Without this handler, Node would close the connection without a response.
  server.on('connect', ({ socket }: http.IncomingMessage) => {
    deps.onRefused('CONNECT', socket.remoteAddress)
    const error = { code: 'INPUT_INVALID', message: 'CONNECT is not supported' }
    const body = `${JSON.stringify({ error })}\n`
    socket.end(
      'HTTP/1.1 405 Method Not Allowed\r\ncontent-type: application/json\r\n' +
        `content-length: ${String(Buffer.byteLength(body))}\r\nconnection: close\r\n\r\n${body}`,
      () => {
        socket.destroy()
      },
    )
  })
  return {
    server,
    prove(socket) {
      slots.of(socket).prove()
    },
  }
}
