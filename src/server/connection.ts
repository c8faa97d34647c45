/** What the listener remembers of a connection between its requests. */
// SPDX-License-Identifier: Apache-2.0
import type { Http2Stream } from 'node:http2'
import type { FastifyRequest } from 'fastify'

/** Limits differ by up to a quarter, so that connections opened together do not end together. */
const SPREAD = 0.25

export interface Connection {
  /** Requests that are not answered yet; several with pipelining and with HTTP/2. */
  open: number
  /** Requests that it may still bring. */
  left: number
  /** Milliseconds of its handshake, for its first request to tell. */
  tlsMs: number | undefined
  /** Whether it is of a terminator that speaks for the client. */
  readonly isFromTerminator: boolean
}

/** By the TLS socket for HTTP/1.1, by the session for HTTP/2. */
export interface Connections {
  /** Counts a request in. */
  begin(request: FastifyRequest): Connection
}

/**
 * @param maxRequests on one connection, about; 0: any number
 * @param look what is known of a TLS socket or a session: how long its handshake took, and of whom it is
 */
export function createConnections(
  maxRequests: number,
  look: (carrier: object) => Pick<Connection, 'tlsMs' | 'isFromTerminator'>,
): Connections {
  const known = new WeakMap<object, Connection>()
  const newLimit = () =>
    maxRequests === 0
      ? Infinity
      : Math.ceil(maxRequests * (1 - SPREAD + 2 * SPREAD * Math.random()))
  return {
    begin(request) {
      const carrier = toCarrier(request)
      let connection = known.get(carrier)
      if (connection === undefined) {
        connection = { open: 0, left: newLimit(), ...look(carrier) }
        known.set(carrier, connection)
      }
      connection.open += 1
      connection.left -= 1
      return connection
    },
  }
}

/**
 * Counts an answer out. True when the connection is to end with it: it had its share of requests, and
 * nothing else is asked on it. The next one reaches whichever worker or host has least to do.
 */
export function endRequest(connection: Connection): boolean {
  connection.open -= 1
  return connection.left <= 0 && connection.open === 0
}

/** Its handshake's time, once. */
export function takeTlsMs(connection: Connection): number | undefined {
  const { tlsMs } = connection
  if (tlsMs !== undefined) connection.tlsMs = undefined
  return tlsMs
}

/** Whether nobody waits for the answer any more: KMS closes a connection when its 250 ms are over. */
export function isGone(request: FastifyRequest): boolean {
  const stream = streamOf(request)
  if (stream !== undefined) return stream.destroyed || stream.aborted
  const { socket } = request.raw
  return socket.destroyed || socket.readableEnded
}

/** HTTP/2 announces the end by GOAWAY: streams that came meanwhile are still answered. */
export function closeSession(request: FastifyRequest): void {
  streamOf(request)?.session?.close()
}

function toCarrier(request: FastifyRequest): object {
  return streamOf(request)?.session ?? request.raw.socket
}

/** Fastify types requests as those of HTTP/1.1. */
function streamOf(request: FastifyRequest): Http2Stream | undefined {
  return (request.raw as unknown as { readonly stream?: Http2Stream }).stream
}
