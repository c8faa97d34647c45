/** One exchange: from what Fastify has read to the pipeline, and from its answer to the socket. */
// SPDX-License-Identifier: Apache-2.0
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Answer, RawResponse } from '../xks/answer.ts'
import type { XksError } from '../xks/errors.ts'
import type { Pipeline } from '../xks/pipeline.ts'
import { type Connection, type Connections, isGone, takeTlsMs } from './connection.ts'
import type { InFlightResponses } from './in-flight-responses.ts'
import type { Admission } from './overload/admission.ts'
import { parsePing, type Ping } from './ping.ts'

export interface ExchangeDeps {
  readonly pipeline: Pipeline
  readonly ping: Ping
  readonly connections: Connections
  readonly admission: Pick<Admission<Exchange>, 'note'>
  readonly inFlight: InFlightResponses
  readonly isDraining: () => boolean
  /** A connection was closed because nothing but unsigned requests came. */
  readonly onClosed: (remoteAddress: string | undefined) => void
}

const NO_BODY = Buffer.alloc(0)

/** A request that Fastify has read, and the way back. */
export interface Exchange {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly fault: XksError | undefined
  readonly connection: Connection
  /** Monotonic milliseconds of the first byte. */
  readonly startedAt: number
}

/** The answer, when it is there at once; what is waited for is sent by itself. Never throws. */
export function makeAnswer(deps: ExchangeDeps, exchange: Exchange): Answer | undefined {
  const { request } = exchange
  try {
    const target = request.raw.url ?? ''
    const ping = request.method === 'GET' ? parsePing(target) : undefined
    // Sent in its turn: an answer may be waiting for its own before it, on the same connection.
    if (ping !== undefined) return toPingAnswer(deps.ping.answer(ping.deep))
    const answer = deps.pipeline(toRawRequest(exchange, target))
    if (!(answer instanceof Promise)) return answer
    answer
      .then((later) => {
        sendAnswer(deps, exchange, later)
      })
      .catch(() => {
        giveUp(exchange)
      })
  } catch {
    giveUp(exchange)
  }
  return undefined
}

/**
 * Only a peer that is gone, or a bug after the pipeline's own border, ends here. Not the request: destroying one that
 * was read to its end leaves the connection open.
 */
function giveUp({ reply }: Exchange): void {
  reply.raw.destroy()
}

/** From the gate's second check to the socket, in one go: nothing may be awaited in here. Never throws. */
export function sendAnswer(deps: ExchangeDeps, exchange: Exchange, answer: Answer): void {
  try {
    try {
      const response = answer.release()
      write(deps, exchange, response, answer.isSigned)
      if (response.status === 200)
        deps.inFlight.add(answer, exchange.request.raw, exchange.reply.raw)
    } finally {
      answer.finish()
    }
  } catch {
    giveUp(exchange)
  }
}

/** No gate stands before a ping, no record is made of it, and it has no signature. */
function toPingAnswer(response: RawResponse): Answer {
  const nothing = () => undefined
  return {
    release: () => response,
    isAllowed: () => true,
    isSigned: undefined,
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
    isGone: () => isGone(raw),
    fault,
  }
}

function write(
  deps: ExchangeDeps,
  { request, reply, connection }: Exchange,
  response: RawResponse,
  isSigned: boolean | undefined,
): void {
  const isHttp1 = request.raw.httpVersionMajor === 1
  if (deps.admission.note(connection.conduct, isSigned)) {
    connection.isCut = true
    deps.onClosed(request.raw.socket.remoteAddress)
  }
  const isLast = deps.connections.end(connection) || connection.isCut
  // Bodies are printable ASCII throughout, so characters are bytes.
  const length = String(response.body.length)
  const headers = ['content-type', 'application/json', 'content-length', length]
  // HTTP/2 knows no such header; its sessions are closed by GOAWAY.
  let closes = (deps.isDraining() || isLast) && isHttp1
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
