/**
 * HTTP/2 on TLS sockets for which ALPN selected it, with the limits that Node enforces for
 * HTTP/1.1.
 */
// SPDX-License-Identifier: Apache-2.0
import http2 from 'node:http2'
import type { RequestListener } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../core/clock.ts'
import { periodic } from '../../core/periodic.ts'
import type { ListenerConfig } from '../../config/config.ts'

export interface Http2Sessions {
  accept(socket: TLSSocket): void
  /** Cuts the session's connection, so that nothing still queued is sent. */
  destroy(session: http2.Http2Session): void
  /** Ends each session after its current streams, and new sessions immediately. */
  close(): void
  stop(): void
}

export interface Http2SessionsOptions {
  readonly config: ListenerConfig
  readonly maxHeaderBytes: number
  readonly handler: RequestListener
  /** Called for CONNECT, which has no path. */
  readonly onConnect: RequestListener
  readonly clock: Clock
  /** Called for each session before its first request. */
  readonly onSession: (session: http2.ServerHttp2Session, socket: TLSSocket) => void
  /** Called when a session was closed because the headers of a request did not arrive in time. */
  readonly onTimeout: (remoteAddress: string | undefined) => void
}

/** Interval at which sessions are checked, the same as Node's for HTTP/1.1. */
const SWEEP_MS = 1000

/** Progress of a session's request headers, which headersMs limits. */
interface Progress {
  readonly socket: TLSSocket
  /** Id of the last stream with complete headers; 0 before the first. */
  completeId: number
  /** Id of the last stream whose headers have started; 0 before the first. */
  begunId: number
  /** Time at which the header timeout started; undefined if no headers are pending. */
  since: number | undefined
  isTimedOut: boolean
}

export function createHttp2Sessions(options: Http2SessionsOptions): Http2Sessions {
  const { maxHeaderBytes, handler, clock } = options
  const { timeouts } = options.config
  const open = new Map<http2.ServerHttp2Session, Progress>()
  let isClosing = false
  const server = http2.createServer(
    {
      settings: { maxConcurrentStreams: 128, maxHeaderListSize: maxHeaderBytes },
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 50,
    },
    // The compatibility API is close enough to HTTP/1.1 for Fastify, which has types only for
    // HTTP/1.1.
    handler as unknown as (req: http2.Http2ServerRequest, res: http2.Http2ServerResponse) => void,
  )
  server.on('checkExpectation', handler)
  // Without this listener, Node would send a response without a body, and nothing would be logged.
  server.on('connect', options.onConnect)
  let accepted: TLSSocket | undefined
  server.on('session', (session) => {
    if (accepted === undefined) return
    options.onSession(session, accepted)
    open.set(session, {
      ...{ socket: accepted, completeId: 0, begunId: 0, isTimedOut: false },
      since: clock.monotonic(),
    })
    session.once('close', () => open.delete(session))
    session.setTimeout(timeouts.keepAliveMs, () => {
      session.close()
    })
    if (isClosing) session.close()
  })
  server.on('sessionError', () => {
    // Node destroys the session itself, but would throw the error if there were no listener.
  })
  server.on('stream', (stream) => {
    const progress = stream.session && open.get(stream.session as http2.ServerHttp2Session)
    if (progress !== undefined) progress.completeId = Math.max(progress.completeId, stream.id ?? 0)
    // Enforces requestTimeout as on HTTP/1.1: closes a stream whose body arrives too slowly.
    const timer = setTimeout(() => {
      stream.close(http2.constants.NGHTTP2_CANCEL)
    }, timeouts.requestMs)
    stream.once('close', () => {
      clearTimeout(timer)
    })
  })

  /**
   * Node does not report incomplete headers, but the id of their stream shows that they have
   * started.
   */
  function look(session: http2.ServerHttp2Session, progress: Progress, now: number): void {
    if (session.destroyed) return
    const begunId = session.state.lastProcStreamID ?? 0
    const isFirst = progress.completeId === 0 && begunId === 0
    if (begunId <= progress.completeId && !isFirst) progress.since = undefined
    else if (begunId !== progress.begunId) progress.since ??= now
    progress.begunId = begunId
    if (progress.since === undefined || now - progress.since < timeouts.headersMs) return
    if (progress.isTimedOut) progress.socket.destroy()
    else {
      progress.isTimedOut = true
      // A connection on which no request has started is closed without a report, as with HTTP/1.1.
      if (!isFirst) options.onTimeout(progress.socket.remoteAddress)
      session.close()
    }
  }

  const sweeping = periodic({
    intervalMs: SWEEP_MS,
    work() {
      const now = clock.monotonic()
      for (const [session, progress] of open) look(session, progress, now)
    },
    onError: () => undefined,
  })
  return {
    accept(socket) {
      accepted = socket
      // Node creates the session before `emit` returns.
      server.emit('connection', socket)
      accepted = undefined
    },
    destroy(session) {
      // Destroying a session would first flush its data; destroying its socket does not.
      open.get(session as http2.ServerHttp2Session)?.socket.destroy()
    },
    close: () => {
      isClosing = true
      for (const session of open.keys()) session.close()
    },
    stop: () => void sweeping.stop(),
  }
}
