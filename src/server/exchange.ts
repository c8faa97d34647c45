/** One exchange: from what Fastify has read to the pipeline, and from its answer to the socket. */
// SPDX-License-Identifier: Apache-2.0
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Answer, RawResponse } from '../xks/answer.ts'
import type { XksError } from '../xks/errors.ts'
import type { Pipeline } from '../xks/pipeline.ts'
import { closeSession, endRequest, isGone, takeTlsMs, type Connection } from './connection.ts'
import type { InFlightResponses } from './in-flight-responses.ts'
import { parsePing, type Ping } from './ping.ts'

export interface ServeDeps {
  readonly pipeline: Pipeline
  readonly ping: Ping
}

const NO_BODY = Buffer.alloc(0)

/** A request that Fastify has read, and the way back. */
export interface Exchange {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly fault: XksError | undefined
  readonly connection: Connection
}

/** The answer, when it is there at once; what is waited for is sent by itself. */
export function serve(
  deps: ServeDeps,
  exchange: Exchange,
  sendAnswer: (exchange: Exchange, answer: Answer) => void,
): Answer | undefined {
  const { request } = exchange
  try {
    const target = request.raw.url ?? ''
    const ping = request.method === 'GET' ? parsePing(target) : undefined
    // Sent in its turn: an answer may be waiting for its own before it, on the same connection.
    if (ping !== undefined) return toAnswer(deps.ping.answer(ping.deep))
    const answer = deps.pipeline(toRawRequest(exchange, target))
    if (!(answer instanceof Promise)) return answer
    answer
      .then((later) => {
        sendAnswer(exchange, later)
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
export function send(
  exchange: Exchange,
  answer: Answer,
  inFlight: InFlightResponses,
  draining: boolean,
): void {
  try {
    try {
      const response = answer.release()
      write(exchange, response, draining)
      if (response.status === 200) inFlight.add(answer, exchange.request.raw, exchange.reply.raw)
    } finally {
      answer.finish()
    }
  } catch {
    giveUp(exchange)
  }
}

/** For what no gate stands before, and nobody records. */
function toAnswer(response: RawResponse): Answer {
  const nothing = () => undefined
  return { release: () => response, isAllowed: () => true, finish: nothing, sent: nothing }
}

function toRawRequest({ request, fault, connection }: Exchange, target: string) {
  const { raw } = request
  return {
    method: request.method,
    target,
    rawHeaders: raw.rawHeaders,
    contentType: raw.headers['content-type'],
    body: Buffer.isBuffer(request.body) ? request.body : NO_BODY,
    httpVersion: raw.httpVersion,
    remoteAddress: raw.socket.remoteAddress ?? '',
    startedAt: request.startedAt,
    tlsMs: takeTlsMs(connection),
    isGone: () => isGone(request),
    fault,
  }
}

function write(exchange: Exchange, response: RawResponse, draining: boolean): void {
  const { request, reply } = exchange
  const { httpVersionMajor } = request.raw
  const isLast = endRequest(exchange.connection)
  // Bodies are printable ASCII throughout, so characters are bytes.
  const length = String(response.body.length)
  const headers = ['content-type', 'application/json', 'content-length', length]
  // HTTP/2 knows no such header; its sessions are closed by GOAWAY.
  let closes = (draining || isLast) && httpVersionMajor === 1
  for (const name in response.headers) {
    if (name === 'connection') closes ||= httpVersionMajor === 1
    else headers.push(name, response.headers[name] ?? '')
  }
  if (closes) headers.push('connection', 'close')
  reply.raw.writeHead(response.status, headers)
  if (request.method === 'HEAD') reply.raw.end()
  else reply.raw.end(response.body, 'latin1')
  if (isLast && httpVersionMajor !== 1) closeSession(request)
}
