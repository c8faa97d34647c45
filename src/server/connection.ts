/** What the listener remembers of a connection, and when it ends one. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'
import { type Http2Session, type Http2Stream, constants } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../core/clock.ts'
import { periodic } from '../core/periodic.ts'
import { type Conduct, newConduct } from './overload/admission.ts'

/** Limits differ by up to a quarter, so that connections opened together do not end together. */
const SPREAD = 0.25
const SWEEP_MS = 1000
/** A connection past its age that is idle for this long is closed; one in use ends with an answer. */
const IDLE_MS = 5000

/** What is known of a connection after its handshake. */
export interface Handshaken {
  /** Milliseconds that the handshake took. */
  readonly tlsMs: number | undefined
  /** The connection comes from a terminator that speaks for the client. */
  readonly isFromTerminator: boolean
  /** Wall time at which the first certificate of the client's chain expires; absent: it showed none. */
  readonly trustedUntil?: number | undefined
}

export interface Connection {
  readonly isFromTerminator: boolean
  readonly conduct: Conduct
  /** Milliseconds of its handshake, until its first request has told. */
  tlsMs: number | undefined
  /** Requests that are not answered yet; several with pipelining and with HTTP/2. */
  open: number
  /** Requests that it may still bring. */
  left: number
  /** Monotonic time from which on it ends with an answer. */
  readonly endsAt: number
  /** Wall time from which on nothing is answered; Infinity without a certificate. */
  trustedUntil: number
  /** Monotonic time of its last request or answer. */
  usedAt: number
  /** Nothing that arrives from now on is answered. */
  isCut: boolean
  /** Closes it after the answers that are under way. */
  close: () => void
  /** Cuts it at once. */
  destroy: () => void
}

export interface Connections {
  /** Registers a connection after its handshake. */
  open(socket: TLSSocket, facts: Handshaken): void
  /** Registers the HTTP/2 session on a connection. */
  openSession(session: Http2Session, socket: TLSSocket): void
  of(request: IncomingMessage): Connection
  /** Counts a request in. */
  begin(connection: Connection): void
  /**
   * Counts an answer out. True when the connection has to end with it: it had its number of requests or
   * its age, and nothing else is asked on it. The next one reaches whichever worker or host has least to do.
   */
  end(connection: Connection): boolean
  /** Whether a request that arrives now may be answered. Cuts a connection whose certificate is over. */
  mayAsk(connection: Connection): boolean
  /** The authority that vouched for these was removed: each ends after the answers under way. */
  distrust(isFromTerminator: boolean): void
  /** Looks for connections to end; a timer does it once a second. */
  sweep(): void
  stop(): void
}

export interface ConnectionsDeps {
  readonly clock: Clock
  /** Requests on one connection, about; 0: any number. */
  readonly maxRequests: number
  /** Milliseconds that one lives, about; 0: any time. */
  readonly maxAgeMs: number
  /** A connection was cut because the certificate that opened it is not good any more. */
  readonly onUntrusted: (remoteAddress: string | undefined) => void
}

export function createConnections(deps: ConnectionsDeps): Connections {
  const { clock, maxRequests, maxAgeMs } = deps
  const known = new WeakMap<object, Connection>()
  const open = new Set<Connection>()
  const addresses = new WeakMap<Connection, string | undefined>()

  function create(facts: Handshaken, socket?: TLSSocket): Connection {
    const now = clock.monotonic()
    return {
      isFromTerminator: facts.isFromTerminator,
      conduct: newConduct(),
      tlsMs: facts.tlsMs,
      open: 0,
      left: Math.ceil(spread(maxRequests)),
      endsAt: now + spread(maxAgeMs),
      trustedUntil: facts.trustedUntil ?? Infinity,
      usedAt: now,
      isCut: false,
      close: () => socket?.destroySoon(),
      destroy: () => socket?.destroy(),
    }
  }

  function cut(connection: Connection): void {
    connection.isCut = true
    deps.onUntrusted(addresses.get(connection))
    connection.destroy()
  }

  function sweep(): void {
    const now = clock.monotonic()
    const wall = clock.now()
    for (const connection of open) {
      // It had until now to take its last answer.
      if (connection.isCut) connection.destroy()
      if (connection.open > 0 || connection.isCut) continue
      if (wall >= connection.trustedUntil) cut(connection)
      else if (now >= connection.endsAt && now - connection.usedAt >= IDLE_MS) connection.close()
    }
  }

  const sweeping = periodic({
    intervalMs: SWEEP_MS,
    work: sweep,
    onError: () => undefined,
  })

  return {
    open(socket, facts) {
      const connection = create(facts, socket)
      known.set(socket, connection)
      addresses.set(connection, socket.remoteAddress)
      open.add(connection)
      socket.once('close', () => open.delete(connection))
    },
    openSession(session, socket) {
      const connection = known.get(socket)
      if (connection === undefined) return
      known.set(session, connection)
      connection.close = () => {
        session.close()
      }
    },
    of(request) {
      const carrier = streamOf(request)?.session ?? request.socket
      // A connection that broke meanwhile has lost its session.
      return known.get(carrier) ?? create({ tlsMs: undefined, isFromTerminator: false })
    },
    begin(connection) {
      connection.open += 1
      connection.left -= 1
    },
    end(connection) {
      connection.open -= 1
      connection.usedAt = clock.monotonic()
      if (connection.open > 0) return false
      return (
        connection.left <= 0 ||
        connection.usedAt >= connection.endsAt ||
        (connection.trustedUntil < Infinity && clock.now() >= connection.trustedUntil)
      )
    },
    mayAsk(connection) {
      if (connection.isCut) return false
      if (connection.trustedUntil === Infinity || clock.now() < connection.trustedUntil) return true
      cut(connection)
      return false
    },
    distrust(isFromTerminator) {
      for (const connection of open) {
        const showed = connection.trustedUntil < Infinity
        if (showed && connection.isFromTerminator === isFromTerminator) connection.trustedUntil = 0
      }
      sweep()
    },
    sweep,
    stop: () => void sweeping.stop(),
  }
}

/** Infinity for 0. */
function spread(limit: number): number {
  return limit === 0 ? Infinity : limit * (1 - SPREAD + 2 * SPREAD * Math.random())
}

/** Its handshake's time, once. */
export function takeTlsMs(connection: Connection): number | undefined {
  const { tlsMs } = connection
  if (tlsMs !== undefined) connection.tlsMs = undefined
  return tlsMs
}

/** Whether no one waits for the answer any more: KMS closes a connection when its 250 ms are over. */
export function isGone(request: IncomingMessage): boolean {
  const stream = streamOf(request)
  if (stream !== undefined) return stream.destroyed || stream.aborted
  const { socket } = request
  return socket.destroyed || socket.readableEnded
}

/**
 * Drops a request that is not answered. HTTP/2 tells its client that it may ask again elsewhere. On HTTP/1.1 the
 * connection is cut when this turn has written its answers, as a peer that goes on sending would otherwise cost as much
 * as before until it has read them all.
 */
export function dismiss(request: IncomingMessage): void {
  const stream = streamOf(request)
  if (stream !== undefined) stream.close(constants.NGHTTP2_REFUSED_STREAM)
  else if (!request.socket.destroyed) setImmediate(() => request.socket.destroy())
}

/** Node types the requests of HTTP/2 as those of HTTP/1.1. */
function streamOf(request: IncomingMessage): Http2Stream | undefined {
  return (request as { readonly stream?: Http2Stream }).stream
}
