/** HTTP/2 on TLS sockets that ALPN gave to it, with the limits that HTTP/1.1 has from Node. */
// SPDX-License-Identifier: Apache-2.0
import http2 from 'node:http2'
import type { RequestListener } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { ListenerConfig } from '../../config/config.ts'

export interface Http2Sessions {
  accept(socket: TLSSocket): void
  /** Cuts its connection: nothing that waits in it leaves any more. */
  destroy(session: http2.Http2Session): void
  /** Sessions end after the streams they have, and new ones at once. */
  close(): void
}

/** @param onSession for each, with what it stands on, before its first request */
export function createHttp2Sessions(
  config: ListenerConfig,
  maxHeaderBytes: number,
  handler: RequestListener,
  onSession: (socket: TLSSocket, session: http2.ServerHttp2Session) => void,
): Http2Sessions {
  const open = new Set<http2.ServerHttp2Session>()
  let isClosing = false
  const server = http2.createServer(
    {
      settings: { maxConcurrentStreams: 128, maxHeaderListSize: maxHeaderBytes },
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 50,
    },
    // The compatibility API is close enough to HTTP/1.1 for Fastify, which types only the latter.
    handler as unknown as (req: http2.Http2ServerRequest, res: http2.Http2ServerResponse) => void,
  )
  server.on('checkExpectation', handler)
  /** Destroying a session would first send what it has; destroying its socket does not. */
  const sockets = new WeakMap<http2.Http2Session, TLSSocket>()
  let accepted: TLSSocket | undefined
  server.on('session', (session) => {
    if (accepted !== undefined) {
      sockets.set(session, accepted)
      onSession(accepted, session)
    }
    open.add(session)
    session.once('close', () => open.delete(session))
    session.setTimeout(config.timeouts.keepAliveMs, () => {
      session.close()
    })
    if (isClosing) session.close()
  })
  server.on('sessionError', () => {
    // Node destroys the session by itself; without a listener it would throw.
  })
  server.on('stream', (stream) => {
    // What requestTimeout does on HTTP/1.1: a body that trickles in does not live for ever.
    const timer = setTimeout(() => {
      stream.close(http2.constants.NGHTTP2_CANCEL)
    }, config.timeouts.requestMs)
    stream.once('close', () => {
      clearTimeout(timer)
    })
  })
  return {
    accept(socket) {
      accepted = socket
      // Node makes the session before this returns.
      server.emit('connection', socket)
      accepted = undefined
    },
    destroy(session) {
      sockets.get(session)?.destroy()
    },
    close: () => {
      isClosing = true
      for (const session of open) session.close()
    },
  }
}
