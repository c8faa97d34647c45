/** Tracks the state of each connection, and decides when to end it. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'
import { type Http2Session, type Http2Stream, constants } from 'node:http2'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../core/clock.ts'
import type { Slot } from '../core/connection-slots.ts'
import { periodic } from '../core/periodic.ts'
import type { SeenCertificate } from './tls/client-certificate.ts'
import { type Conduct, HTTP2_SHARE, newConduct } from './overload/admission.ts'

/**
 * Each connection's limits vary by up to a quarter, so that connections opened together do not end
 * together.
 */
const SPREAD = 0.25
const SWEEP_MS = 1000
/**
 * Idle time in milliseconds after which a connection past its maximum age is closed. A busy
 * connection ends with its next response.
 */
const IDLE_MS = 5000

/** Facts known about a connection after its handshake. */
export interface Handshaken {
  /** Handshake duration in milliseconds. */
  readonly tlsMs: number | undefined
  readonly tls?: ConnectionTls
  /** Whether the connection comes from a terminator that forwards a client's requests. */
  readonly isFromTerminator: boolean
  /** Absent in tests without a network. */
  readonly slot?: Slot
  /**
   * Wall time at which the first certificate in the client's chain expires; absent if the client
   * has no certificate.
   */
  readonly trustedUntil?: number | undefined
  /**
   * The client's certificate. Absent if mTLS is off or the connection comes from a TLS terminator.
   */
  readonly seen?: SeenCertificate | undefined
}

/** TLS facts that policies may read. */
export interface ConnectionTls {
  /** `TLSv1.2` or `TLSv1.3`. */
  readonly version: string
  /**
   * Common name of the client certificate. Absent if mTLS is off or the connection comes from a TLS
   * terminator.
   */
  readonly clientName?: string | undefined
}

export interface Connection {
  readonly tls: ConnectionTls | undefined
  readonly isFromTerminator: boolean
  readonly conduct: Conduct
  readonly slot: Slot | undefined
  /**
   * Handshake duration in milliseconds; undefined once it has been reported with the first request.
   */
  tlsMs: number | undefined
  /**
   * The client's certificate; undefined once it has been reported with the first valid signature.
   */
  seen: SeenCertificate | undefined
  /** Number of unanswered requests; may exceed one with pipelining and with HTTP/2. */
  open: number
  /** Number of requests that the connection may still send. */
  left: number
  /** Monotonic time after which the next response ends the connection. */
  readonly endsAt: number
  /**
   * Wall time at which the client certificate expires and responses stop; Infinity without a
   * certificate.
   */
  trustedUntil: number
  /** Monotonic time of the last request or response. */
  usedAt: number
  /** Whether the connection was cut: requests that arrive from now on get no response. */
  isCut: boolean
  /** Closes the connection after the responses in progress. */
  close: () => void
  /** Cuts the connection immediately. */
  destroy: () => void
}

export interface Connections {
  /** Registers a connection after its handshake. */
  open(socket: TLSSocket, facts: Handshaken): void
  /** Registers the HTTP/2 session on a connection. */
  openSession(session: Http2Session, socket: TLSSocket): void
  of(request: IncomingMessage): Connection
  /** Counts a new request. */
  begin(connection: Connection): void
  /**
   * Counts a response. Returns true if the connection must end with this response: it has reached
   * its maximum number of requests or its maximum age, and has no other request open. The client's
   * next connection then goes to the least busy worker or host.
   */
  end(connection: Connection): boolean
  /**
   * Reports whether a request that arrives now may be answered. Cuts a connection whose certificate
   * has expired.
   */
  mayAsk(connection: Connection): boolean
  /**
   * Call when the authority that vouched for these connections was removed. Each connection ends
   * after its responses in progress.
   */
  distrust(isFromTerminator: boolean): void
  /**
   * Closes idle connections past their maximum age, and cuts connections whose
   * certificate has expired. A timer calls it once a second.
   */
  sweep(): void
  stop(): void
}

export interface ConnectionsDeps {
  readonly clock: Clock
  /** Approximate number of requests per connection; 0 for no limit. */
  readonly maxRequests: number
  /** Approximate lifetime of a connection in milliseconds; 0 for no limit. */
  readonly maxAgeMs: number
  /** Called when a connection was cut because its client certificate is no longer valid. */
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
      tls: facts.tls,
      isFromTerminator: facts.isFromTerminator,
      conduct: newConduct(),
      slot: facts.slot,
      tlsMs: facts.tlsMs,
      seen: facts.seen,
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
      // By now, a cut connection has had time to transmit its last response.
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
      connection.conduct.share = HTTP2_SHARE
      connection.close = () => {
        session.close()
      }
    },
    of(request) {
      const carrier = streamOf(request)?.session ?? request.socket
      // If the connection has broken in the meantime, the request no longer has a session.
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
      if (!connection.conduct.hasSigned) connection.slot?.touch()
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

/** Returns Infinity for 0, which stands for no limit. */
function spread(limit: number): number {
  return limit === 0 ? Infinity : limit * (1 - SPREAD + 2 * SPREAD * Math.random())
}

/** Returns the handshake duration on the first call, and then undefined. */
export function takeTlsMs(connection: Connection): number | undefined {
  const { tlsMs } = connection
  if (tlsMs !== undefined) connection.tlsMs = undefined
  return tlsMs
}

/**
 * Reports whether the caller no longer waits for the response: KMS closes a connection after 250
 * ms.
 */
export function isGone(request: IncomingMessage): boolean {
  const stream = streamOf(request)
  if (stream !== undefined) return stream.destroyed || stream.aborted
  const { socket } = request
  return socket.destroyed || socket.readableEnded
}

/**
 * Drops a request without a response. HTTP/2 tells the client that it may retry elsewhere. On
 * HTTP/1.1, cuts the connection at once and discards its queued data; otherwise every buffered
 * request of a peer that keeps sending would still have to be processed.
 */
export function dismiss(request: IncomingMessage): void {
  const stream = streamOf(request)
  if (stream !== undefined) stream.close(constants.NGHTTP2_REFUSED_STREAM)
  else if (!request.socket.destroyed) {
    closeWithoutStacks(request.socket)
    request.socket.destroy()
  }
}

/**
 * Node destroys each request that still waits on a connection that closes with an error, and
 * formats the stack of that error. No code reads the stack, and for hundreds of requests,
 * formatting it is half of the cost of a flood. Stacks are therefore disabled while the listeners
 * for this one event run.
 */
function closeWithoutStacks(socket: Socket): void {
  let before = Error.stackTraceLimit
  socket.prependOnceListener('close', () => {
    before = Error.stackTraceLimit
    Error.stackTraceLimit = 0
  })
  socket.once('close', () => {
    Error.stackTraceLimit = before
  })
}

/** Node declares HTTP/2 requests with the types of HTTP/1.1. */
function streamOf(request: IncomingMessage): Http2Stream | undefined {
  return (request as { readonly stream?: Http2Stream }).stream
}
