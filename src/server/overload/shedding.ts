/**
 * Runs before Fastify, and rejects requests whose response would be too late: it sends
 * ThrottlingException without parsing the request.
 */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { ApiSchemas } from '../../openapi/schemas.ts'
import { XksError } from '../../xks/errors.ts'
import { type Connections, dismiss } from '../connection.ts'
import { parsePing } from '../ping.ts'
import type { Admission } from './admission.ts'

/** A request that was rejected before it was parsed, for the log. */
export interface ShedRequest {
  readonly remoteAddress: string
  readonly http: string
  readonly method: string
  /** The request target as sent, of any length. */
  readonly target: string
}

export interface SheddingDeps {
  readonly schemas: ApiSchemas
  readonly connections: Connections
  readonly admission: Pick<Admission<never>, 'judge'>
  /** Reports whether `uriPath` is the XksProxyUriPath of a key store. */
  readonly isUriPath: (uriPath: string) => boolean
  readonly onShed: (request: ShedRequest) => void
  /** Called when a connection was closed because it sent nothing but unsigned requests. */
  readonly onClosed: (remoteAddress: string | undefined) => void
}

export interface Shedding {
  /** Adds admission control to a handler. */
  before(handler: RequestListener): RequestListener
  /**
   * Rejects a request that waited too long. Returns false if the request is exempt from shedding.
   */
  refuse(request: IncomingMessage, response: ServerResponse): boolean
}

export function createShedding(deps: SheddingDeps): Shedding {
  const { connections, admission } = deps
  const { errorName, message: errorMessage, status } = new XksError('ThrottlingException')
  const body = deps.schemas.encode('ErrorResponse', { errorName, errorMessage })
  const headers = ['content-type', 'application/json', 'content-length', String(body.length)]

  function answer(request: IncomingMessage, response: ServerResponse, closes: boolean): void {
    const remoteAddress = request.socket.remoteAddress ?? ''
    const { method = '', url: target = '', httpVersion: http } = request
    deps.onShed({ remoteAddress, http, method, target })
    response.writeHead(status, closes ? [...headers, 'connection', 'close'] : headers)
    response.end(body, 'latin1')
  }

  return {
    before: (handler) => (request, response) => {
      const connection = connections.of(request)
      if (!connections.mayAsk(connection)) {
        dismiss(request)
        return
      }
      const verdict = admission.judge(connection.conduct, isExempt(deps.isUriPath, request))
      if (verdict === 'serve') {
        handler(request, response)
        return
      }
      const isHttp1 = request.httpVersionMajor === 1
      answer(request, response, verdict === 'close' && isHttp1)
      if (verdict !== 'close') return
      connection.isCut = true
      deps.onClosed(request.socket.remoteAddress)
      if (!isHttp1) connection.close()
    },
    refuse(request, response) {
      if (isExempt(deps.isUriPath, request)) return false
      answer(request, response, false)
      return true
    },
  }
}

/**
 * Health checks by load balancers and KMS are exempt, because they ask about the state of the
 * proxy, not about its load.
 */
function isExempt(
  isUriPath: SheddingDeps['isUriPath'],
  { method, url: target = '' }: IncomingMessage,
): boolean {
  if (method === 'POST')
    return target.endsWith(HEALTH) && isUriPath(target.slice(0, -HEALTH.length))
  return (method === 'GET' || method === 'HEAD') && parsePing(target) !== undefined
}

const HEALTH = '/health'
