/**
 * A TLS port that serves HTTP/1.1 and, if ALPN selects it, HTTP/2. Certificates are checked before
 * either protocol sees a byte.
 */
// SPDX-License-Identifier: Apache-2.0
import type http2 from 'node:http2'
import type { IncomingMessage, RequestListener } from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../../core/clock.ts'
import { limitConnections, tcpBelow } from '../../core/connection-slots.ts'
import { chainEndsAt } from '../../core/peer-certificate.ts'
import { groupOf } from '../../core/tls-groups.ts'
import type { ListenerConfig } from '../../config/config.ts'
import type { Connections } from '../connection.ts'
import {
  CLOSED,
  commonNameOf,
  checkClientCertificate,
  toReason,
  toSeen,
  type Refusal,
} from './client-certificate.ts'
import { watchFirstBytes } from './first-byte.ts'
import { createHttp2Sessions } from './http2-sessions.ts'
import { createIsPeer } from '../trusted-proxy/peers.ts'
import { createProxied } from '../trusted-proxy/connection.ts'
import { createTerminators } from '../trusted-proxy/tls.ts'
import { losesAuthority, type TlsMaterial } from './material.ts'

const MAX_HEADER_BYTES = 16_384
/**
 * Interval at which Node looks for requests that exceeded headersMs or requestMs; its default is 30
 * s.
 */
const TIMEOUT_CHECK_MS = 1000
/**
 * Detects peers that have vanished, because dead connections would otherwise accumulate up to the
 * connection limit.
 */
const TCP_KEEPALIVE_MS = 60_000

/** The result of a TLS handshake. */
export interface Handshake {
  /** Milliseconds from the TCP connection to the end of the handshake. */
  readonly ms: number
  readonly isResumed: boolean
  /** `TLSv1.2` or `TLSv1.3`. */
  readonly version: string
  readonly http: '1.1' | '2.0'
  /** Key exchange group, such as `X25519`. */
  readonly group: string
}

export interface TlsServer {
  readonly server: https.Server
  /**
   * Uses the material for new connections. Open connections continue, unless an authority that they
   * may depend on was removed.
   */
  setMaterial(material: TlsMaterial): void
  /** Ends each HTTP/2 session after its current streams, and new sessions immediately. */
  closeSessions(): void
  /** Returns the number of open connections, including those in a handshake. */
  countConnections(): number
  /** Cuts every connection, including those in a handshake. */
  destroyConnections(): void
  /** Cuts the connection of a request, so that nothing still queued is sent. */
  destroyConnectionOf(request: IncomingMessage): void
}

export interface TlsServerOptions {
  readonly config: ListenerConfig
  readonly material: TlsMaterial
  readonly connections: Connections
  readonly handler: RequestListener
  /** Called for CONNECT on HTTP/1.1, after Node's parser has detached from the socket. */
  readonly onConnect: (request: IncomingMessage, socket: Duplex) => void
  /** Called for CONNECT on HTTP/2. */
  readonly onConnectStream: RequestListener
  readonly onRefused: (refusal: Refusal, remoteAddress: string | undefined) => void
  readonly onHandshake: (handshake: Handshake) => void
  readonly clock: Clock
}

/** The peer of a connection, before its certificate is checked. */
interface Peer {
  /** Common names that the peer's certificate may have; absent if no certificate is required. */
  readonly subjects: readonly string[] | undefined
  readonly isFromTerminator: boolean
  /** Whether to close a connection whose certificate is refused. */
  readonly isEnforced: boolean
}

export function createTlsServer(options: TlsServerOptions): TlsServer {
  const { config, handler } = options
  const mutual = config.clientCertificate
  /**
   * With `observe`, every connection is served, and connections that `enforce` would refuse are
   * counted.
   */
  const enforces = mutual?.mode === 'enforce'
  let inUse = options.material
  const common = {
    ALPNProtocols: config.http2 ? ['h2', 'http/1.1'] : ['http/1.1'],
    handshakeTimeout: config.timeouts.tlsHandshakeMs,
  }
  const server = https.createServer(
    {
      ...options.material.context,
      ...common,
      requestCert: mutual !== undefined,
      rejectUnauthorized: enforces,
      headersTimeout: config.timeouts.headersMs,
      requestTimeout: config.timeouts.requestMs,
      keepAliveTimeout: config.timeouts.keepAliveMs,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      // If this were true, Node would refuse a request without Host, with a response that has no
      // body. Such a request is refused anyway, because the signature covers the host.
      requireHostHeader: false,
    },
    handler,
  )
  // Node would return 417 without a body for an Expect header that it does not know.
  server.on('checkExpectation', handler)
  server.on('connect', options.onConnect)
  const sessions = createHttp2Sessions({
    config,
    maxHeaderBytes: MAX_HEADER_BYTES,
    handler,
    onConnect: options.onConnectStream,
    clock: options.clock,
    onSession: options.connections.openSession,
    onTimeout: (remoteAddress) => {
      options.onRefused(CLOSED.slow, remoteAddress)
    },
  })
  server.once('close', sessions.stop)
  /**
   * Addresses by connection, because a refused connection no longer has an address by the time it
   * is logged.
   */
  const addresses = new WeakMap<object, string | undefined>()
  const openedAt = new WeakMap<object, number>()
  const noteHandshake = (socket: TLSSocket, peer: Peer, refusal?: Refusal) => {
    const now = options.clock.monotonic()
    const ms = now - (openedAt.get(tcpBelow(socket)) ?? now)
    options.connections.open(socket, {
      tlsMs: ms,
      tls: {
        version: socket.getProtocol() ?? '',
        // In observe mode, the certificate may be unverified.
        clientName:
          peer.subjects === undefined || peer.isFromTerminator || refusal !== undefined
            ? undefined
            : commonNameOf(socket),
      },
      isFromTerminator: peer.isFromTerminator,
      slot: slots.of(socket),
      trustedUntil: peer.isEnforced ? chainEndsAt(socket) : undefined,
      seen: peer.isFromTerminator || !peer.subjects ? undefined : toSeen(socket, refusal),
    })
    options.onHandshake({
      ms,
      isResumed: socket.isSessionReused(),
      version: socket.getProtocol() ?? '',
      http: socket.alpnProtocol === 'h2' ? '2.0' : '1.1',
      group: groupOf(socket),
    })
  }

  // Node's own listeners start HTTP/1.1. They run only for accepted connections.
  const startHttp1 = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[]
  server.removeAllListeners('secureConnection')
  const startHttp = (socket: TLSSocket, peer: Peer) => {
    const address = addresses.get(tcpBelow(socket))
    // Makes `remoteAddress` return the caller's address from now on.
    if (address !== socket.remoteAddress)
      Object.defineProperty(socket, 'remoteAddress', { value: address })
    const refusal = peer.subjects && checkClientCertificate(socket, peer.subjects)
    if (refusal !== undefined && peer.isEnforced) {
      options.onRefused(refusal, socket.remoteAddress)
      socket.destroy()
      return
    }
    noteHandshake(socket, peer, refusal)
    if (socket.alpnProtocol === 'h2') sessions.accept(socket)
    else {
      for (const listener of startHttp1) listener.call(server, socket)
      watchFirstBytes(socket, options.clock)
    }
  }
  server.on('secureConnection', (socket) => {
    startHttp(socket, {
      ...{ subjects: mutual?.subjects, isEnforced: enforces, isFromTerminator: false },
    })
  })
  const onFailed = (error: Error, socket: TLSSocket) => {
    // If Node refused the chain, the handshake ends here, and `error` contains only ECONNRESET.
    const chain: unknown = socket.authorizationError
    const reason = chain ? toReason(chain) : ((error as NodeJS.ErrnoException).code ?? 'TLS')
    options.onRefused({ reason }, socket.remoteAddress ?? addresses.get(tcpBelow(socket)))
    socket.destroy()
  }
  const forwardedBy = mutual?.forwardedBy
  const terminators =
    forwardedBy &&
    createTerminators({
      ...{ config: forwardedBy, material: options.material, common, onFailed },
      onSecure(socket) {
        const subjects = forwardedBy.certificate?.subjects
        startHttp(socket, { subjects, isEnforced: subjects !== undefined, isFromTerminator: true })
      },
    })
  // Node's own listeners start TLS. They run once the PROXY header has been read.
  const startTls = server.listeners('connection') as ((socket: Socket) => void)[]
  server.removeAllListeners('connection')
  const proxied = createProxied({
    isPeer: createIsPeer(config.proxyProtocol?.peers ?? []),
    timeoutMs: config.timeouts.tlsHandshakeMs,
    onRefused: (reason, remoteAddress) => {
      options.onRefused({ reason }, remoteAddress)
    },
  })
  server.on('connection', (socket: Socket) => {
    socket.setNoDelay(true)
    socket.setKeepAlive(true, TCP_KEEPALIVE_MS)
    proxied(socket, (source) => {
      addresses.set(socket, source?.address ?? socket.remoteAddress)
      openedAt.set(socket, options.clock.monotonic())
      if (terminators?.isOne(socket) === true) terminators.accept(socket)
      else for (const listener of startTls) listener.call(server, socket)
    })
  })
  const slots = limitConnections(server, config.maxConnections, (socket) => {
    options.onRefused(CLOSED.crowded, addresses.get(socket) ?? socket.remoteAddress)
  })
  // Node's own listener would report a failed handshake again, as a failed HTTP request.
  server.removeAllListeners('tlsClientError')
  server.on('tlsClientError', onFailed)

  return {
    server,
    setMaterial(material) {
      server.setSecureContext(material.context)
      terminators?.setMaterial(material)
      if (losesAuthority(inUse.context, material.context)) options.connections.distrust(false)
      if (losesAuthority(inUse.terminatorContext, material.terminatorContext))
        options.connections.distrust(true)
      inUse = material
    },
    closeSessions: sessions.close,
    countConnections: () => slots.open.size,
    destroyConnections() {
      for (const socket of slots.open) socket.destroy()
    },
    destroyConnectionOf(request) {
      const { stream } = request as { readonly stream?: http2.ServerHttp2Stream }
      if (stream === undefined) request.socket.destroy()
      else if (stream.session !== undefined) sessions.destroy(stream.session)
    },
  }
}
