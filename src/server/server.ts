/**
 * The HTTPS listener: a Fastify instance that reads whole requests and passes them to the pipeline.
 */
// SPDX-License-Identifier: Apache-2.0
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { loopIdleMs, type Clock } from '../core/clock.ts'
import type { ListenerConfig } from '../config/config.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import type { Answer } from '../xks/answer.ts'
import type { XksError } from '../xks/errors.ts'
import type { Pipeline } from '../xks/pipeline.ts'
import { createAdmission } from './overload/admission.ts'
import { createConnections } from './connection.ts'
import { createTlsServer, type TlsServer, type Handshake } from './tls/server.ts'
import { type Exchange, type ExchangeDeps, makeAnswer, sendAnswer } from './exchange.ts'
import { createCheckForwarded, type Forwarded } from './trusted-proxy/forwarded-certificate.ts'
import { firstByteAt, isUnused } from './tls/first-byte.ts'
import {
  announceBody,
  findHttpFault,
  refuseConnect,
  refuseConnectStream,
  refuseUnparsable,
  toFault,
} from './framework-errors.ts'
import { createInFlightResponses } from './in-flight-responses.ts'
import { createShedding, type ShedRequest } from './overload/shedding.ts'
import type { Ping } from './ping.ts'
import { CLOSED, type Refusal, type SeenCertificate } from './tls/client-certificate.ts'
import type { TlsMaterial } from './tls/material.ts'

export interface ListenerDeps {
  readonly config: ListenerConfig
  readonly material: TlsMaterial
  readonly schemas: ApiSchemas
  readonly pipeline: Pipeline
  readonly ping: Ping
  readonly clock: Clock
  /** Maximum body size in bytes; larger bodies are refused before they are read completely. */
  readonly maxBodyBytes: number
  readonly onRefused: (refusal: Refusal, remoteAddress: string | undefined) => void
  readonly onHandshake: (handshake: Handshake) => void
  /** See ExchangeDeps. */
  readonly onCertificate: (seen: SeenCertificate) => void
  /** Reports whether `uriPath` is the XksProxyUriPath of a key store. */
  readonly isUriPath: (uriPath: string) => boolean
  /** Maximum wait of a request in milliseconds, with and without a queue. */
  readonly maxWaitMs: { readonly queued: number; readonly alone: number }
  /** Called when a request was rejected before it was parsed. */
  readonly onShed: (request: ShedRequest) => void
}

export interface Listener {
  readonly app: FastifyInstance
  readonly tls: TlsServer
  /** Makes each response close its HTTP/1.1 connection from now on. */
  startDraining(): void
  /**
   * Cuts responses that were released and are still in this process, but would not be released now.
   */
  cutRevoked(): Promise<void>
}

/**
 * Exceeds the length of any target that fits in the headers, so that the pipeline rather than
 * Fastify checks the length.
 */
const MAX_PARAM_LENGTH = 20_000

export async function createListener(deps: ListenerDeps): Promise<Listener> {
  let tls: TlsServer | undefined
  let draining = false
  const { config, clock, maxWaitMs } = deps
  const connections = createConnections({
    clock,
    maxRequests: config.maxRequestsPerConnection,
    maxAgeMs: config.maxConnectionAgeMs,
    onUntrusted: (remoteAddress) => {
      deps.onRefused(CLOSED.untrusted, remoteAddress)
    },
  })
  const { clientCertificate } = config
  const checkForwarded =
    clientCertificate?.forwardedBy &&
    createCheckForwarded(clientCertificate.forwardedBy, clientCertificate.subjects)
  const inFlight = createInFlightResponses((request) => tls?.destroyConnectionOf(request))
  const onClosed = (remoteAddress: string | undefined) => {
    deps.onRefused(CLOSED.unsigned, remoteAddress)
  }
  const admission = createAdmission(
    { clock, idleMs: loopIdleMs, limitMs: maxWaitMs.queued, deadlineMs: maxWaitMs.alone },
    {
      make: (exchange: Exchange) => makeAnswer(exchanges, exchange),
      send(exchange, answer: Answer) {
        sendAnswer(exchanges, exchange, answer)
      },
      refuse(exchange) {
        const { request, reply, connection } = exchange
        if (shedding.refuse(request.raw, reply.raw)) connections.end(connection)
        else {
          const answer = makeAnswer(exchanges, exchange)
          if (answer !== undefined) sendAnswer(exchanges, exchange, answer)
        }
      },
    },
  )
  const shedding = createShedding({ ...deps, connections, admission, onClosed })
  const exchanges: ExchangeDeps = {
    ...{ ...deps, connections, admission, inFlight, onClosed },
    isDraining: () => draining,
  }
  const handle = (fault?: XksError) => (request: FastifyRequest, reply: FastifyReply) => {
    // From here on Fastify writes nothing; the handler itself writes the response to the socket.
    reply.hijack()
    const connection = connections.of(request.raw)
    connections.begin(connection)
    const forwarded = checkForwarded?.(request.raw.rawHeaders, connection.isFromTerminator)
    const isObserved = clientCertificate?.mode === 'observe' && connection.isFromTerminator
    // A terminator's connection carries the requests of many clients, so the certificate of each
    // request is reported.
    const seen = isObserved ? toForwardedSeen(forwarded) : undefined
    const wrong = findHttpFault(request.raw) ?? fault ?? (isObserved ? undefined : forwarded?.fault)
    // Fastify runs no hook for an unknown target or method, so `request.startedAt` may be missing.
    const startedAt = request.startedAt ?? firstByteAt(request.raw, clock)
    admission.serve({ request, reply, fault: wrong, connection, seen, startedAt })
  }

  const app = fastify({
    logger: false,
    bodyLimit: deps.maxBodyBytes,
    return503OnClosing: false,
    exposeHeadRoutes: false,
    trustProxy: false,
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    serverFactory: (handler) => {
      tls = createTlsServer({
        ...{ ...deps, connections, handler: shedding.before(handler) },
        onConnect(request) {
          const { socket } = request
          const { open } = connections.of(request)
          deps.onRefused(CLOSED.connect, socket.remoteAddress)
          // If earlier responses are pending, the connection is cut, because this response would
          // overtake them.
          if (open > 0) socket.destroy()
          else refuseConnect(deps.schemas, socket)
        },
        onConnectStream(request, response) {
          deps.onRefused(CLOSED.connect, request.socket.remoteAddress)
          refuseConnectStream(deps.schemas, response)
          connections.of(request).close()
        },
      })
      tls.server.once('close', connections.stop)
      return tls.server
    },
    clientErrorHandler: (error, socket) => {
      // No caller is waiting for a response. A client would mistake a response sent now for the
      // response to its next request.
      if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && isUnused(socket)) {
        socket.destroy()
        return
      }
      const reason = refuseUnparsable(deps.schemas, error, socket)
      deps.onRefused({ reason }, socket.remoteAddress)
    },
    frameworkErrors: (error, request, reply) => {
      handle(toFault(error))(request, reply)
    },
  })
  app.decorateRequest('startedAt', undefined)
  app.addHook('onRequest', (request, _reply, done) => {
    request.startedAt = firstByteAt(request.raw, clock)
    announceBody(request.raw)
    done()
  })
  // One parser handles every media type: the signature covers the raw bytes and the pipeline
  // validates them, so no content type bypasses validation.
  app.removeAllContentTypeParsers()
  // The usual type is also registered by name, because Fastify finds a named type without parsing
  // the header.
  for (const type of ['application/json', '*']) {
    app.addContentTypeParser(type, { parseAs: 'buffer' }, (_request, body, done) => {
      done(null, body)
    })
  }
  app.setErrorHandler((error, request, reply) => {
    handle(toFault(error))(request, reply)
  })
  app.setNotFoundHandler(handle())
  app.all('/*', handle())
  await app.ready()
  if (tls === undefined) throw new Error('the server factory was not called')
  return {
    app,
    tls,
    startDraining: () => {
      draining = true
    },
    cutRevoked: inFlight.cutRevoked,
  }
}

/**
 * If a terminator ended the TLS connection, it reports only the client certificate's common name.
 */
function toForwardedSeen(forwarded: Forwarded | undefined): SeenCertificate {
  const result = forwarded?.fault?.reason ?? 'OK'
  const commonName = forwarded?.commonName
  if (commonName === undefined) return { result }
  return { result, shown: { commonName, subject: `CN=${commonName}`, issuer: '', purposes: '' } }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Monotonic time, in milliseconds, at which the first byte of the request arrived. */
    startedAt: number | undefined
  }
}
