/**
 * One exchange: passes the request that Fastify has read to the pipeline, and writes the response
 * to the socket.
 */
// SPDX-License-Identifier: Apache-2.0
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Answer, RawResponse, SignatureState } from '../xks/answer.ts'
import type { XksError } from '../xks/errors.ts'
import type { Pipeline } from '../xks/pipeline.ts'
import { type Connection, type Connections, isGone, takeTlsMs } from './connection.ts'
import { findHttpFault } from './framework-errors.ts'
import type { InFlightResponses } from './in-flight-responses.ts'
import type { Admission } from './overload/admission.ts'
import { parsePing, type Ping } from './ping.ts'
import type { SeenCertificate } from './tls/client-certificate.ts'

export interface ExchangeDeps {
  readonly pipeline: Pipeline
  readonly ping: Ping
  readonly connections: Connections
  readonly admission: Pick<Admission<Exchange>, 'note'>
  readonly inFlight: InFlightResponses
  readonly isDraining: () => boolean
  /** Called when a connection was closed because it sent nothing but unsigned requests. */
  readonly onClosed: (remoteAddress: string | undefined) => void
  /**
   * Called at the first valid signature on each mTLS connection and, in observe mode, for each
   * signed request that a terminator forwards.
   */
  readonly onCertificate: (seen: SeenCertificate) => void
}

const NO_BODY = Buffer.alloc(0)

/** A request that Fastify has read, with its reply. */
export interface Exchange {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly fault: XksError | undefined
  readonly connection: Connection
  /** The client certificate that a terminator named, in observe mode. */
  readonly seen: SeenCertificate | undefined
  /** Monotonic time, in milliseconds, at which the first byte arrived. */
  readonly startedAt: number
}

/**
 * Returns the response if it is available synchronously; otherwise it is sent later. Never throws.
 */
export function makeAnswer(deps: ExchangeDeps, exchange: Exchange): Answer | undefined {
  const { request } = exchange
  try {
    const target = request.raw.url ?? ''
    // A terminator's own health check names no client, so it is checked for HTTP errors only.
    const isPing = request.method === 'GET' && findHttpFault(request.raw) === undefined
    const ping = isPing ? parsePing(target) : undefined
    // The response is returned rather than sent here, because an earlier response on the same
    // connection may still be pending.
    if (ping !== undefined) return toPingAnswer(deps.ping.answer(ping.deep))
    const answer = deps.pipeline(toRawRequest(exchange, target))
    if (!(answer instanceof Promise)) return answer
    answer.then(
      (later) => {
        sendAnswer(deps, exchange, later)
      },
      () => {
        giveUp(exchange)
      },
    )
  } catch {
    giveUp(exchange)
  }
  return undefined
}

/**
 * Called only if the peer is gone, or because of a bug outside the pipeline's own error handling.
 * The reply is destroyed, not the request: destroying a request that was read to its end leaves the
 * connection open.
 */
function giveUp({ reply }: Exchange): void {
  reply.raw.destroy()
}

/**
 * Runs from the gate's second check to the socket in one tick: nothing may be awaited in here.
 * Never throws.
 */
export function sendAnswer(deps: ExchangeDeps, exchange: Exchange, answer: Answer): void {
  try {
    try {
      const response = answer.release()
      write(deps, exchange, response, answer.signature)
      if (response.status === 200)
        deps.inFlight.add(answer, exchange.request.raw, exchange.reply.raw)
    } finally {
      answer.finish()
    }
  } catch {
    giveUp(exchange)
  }
}

/** A ping is not subject to the gate, is not recorded, and has no signature. */
function toPingAnswer(response: RawResponse): Answer {
  const nothing = () => undefined
  return {
    release: () => response,
    isAllowed: () => true,
    signature: 'not required',
    finish: nothing,
    sent: nothing,
  }
}

function toRawRequest({ request, fault, connection, startedAt }: Exchange, target: string) {
  const { raw } = request
  return {
    method: request.method,
    target,
    rawHeaders: raw.rawHeaders,
    contentType: raw.headers['content-type'],
    body: Buffer.isBuffer(request.body) ? request.body : NO_BODY,
    httpVersion: raw.httpVersion,
    remoteAddress: raw.socket.remoteAddress ?? '',
    startedAt,
    tlsMs: takeTlsMs(connection),
    tls: connection.tls,
    isGone: () => isGone(raw),
    fault,
  }
}

function write(
  deps: ExchangeDeps,
  { request, reply, connection, fault, seen = connection.seen }: Exchange,
  response: RawResponse,
  signature: SignatureState,
): void {
  const isHttp1 = request.raw.httpVersionMajor === 1
  if (signature === 'good' && !connection.conduct.hasSigned) connection.slot?.prove()
  if (deps.admission.note(connection.conduct, signature)) {
    connection.isCut = true
    deps.onClosed(request.raw.socket.remoteAddress)
  }
  if (signature === 'good' && seen !== undefined) {
    deps.onCertificate(seen)
    connection.seen = undefined
  }
  const isLast = deps.connections.end(connection) || connection.isCut
  // Bodies are printable ASCII, so their length in characters is their length in bytes.
  const length = String(response.body.length)
  const headers = ['content-type', 'application/json', 'content-length', length]
  // HTTP/2 has no Connection header; GOAWAY closes its sessions. A framing error ends the
  // connection even if another error was found first.
  let closes =
    isHttp1 && (deps.isDraining() || isLast || fault?.headers?.['connection'] === 'close')
  for (const name in response.headers) {
    if (name === 'connection') closes ||= isHttp1
    else headers.push(name, response.headers[name] ?? '')
  }
  if (closes) headers.push('connection', 'close')
  reply.raw.writeHead(response.status, headers)
  if (request.method === 'HEAD') reply.raw.end()
  else reply.raw.end(response.body, 'latin1')
  if (isLast && !isHttp1) connection.close()
}
