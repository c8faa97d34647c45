/** What HTTP demands of a request and Node does not check. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'
import { XksError } from '../xks/errors.ts'

interface Http2Request extends IncomingMessage {
  readonly stream?: { readonly endAfterHeaders: boolean }
}

/** The fault of a request that was read; undefined for one that HTTP allows. */
export function findHttpFault(request: IncomingMessage): XksError | undefined {
  const { headers, httpVersionMajor } = request
  if (httpVersionMajor === 2) {
    // RFC 9113, 8.3.1: a server must treat a request as malformed whose Host differs from :authority.
    const { host } = headers
    const authority = headers[':authority']
    if (host === undefined || authority === undefined || host === authority) return undefined
    return new XksError('ValidationException', 'The Host header differs from :authority.', {
      reason: 'HOST_DIFFERS',
    })
  }
  const codings = headers['transfer-encoding']
  // RFC 9112, 6.1: 501 for a transfer coding that the server does not understand.
  if (codings === undefined || codings.toLowerCase() === 'chunked') return undefined
  return new XksError('UnsupportedOperationException', 'The only transfer coding is chunked.', {
    headers: { connection: 'close' },
    reason: 'TRANSFER_CODING',
  })
}

/**
 * HTTP/2 frames a body by itself, and a request needs neither a content length nor a content type to have one.
 * Fastify reads a body only when a header announces it, so this gives it the header that HTTP/1.1 would have.
 */
export function announceBody(request: IncomingMessage): void {
  const { headers, stream } = request as Http2Request
  if (stream === undefined || stream.endAfterHeaders) return
  if (headers['content-type'] === undefined && headers['content-length'] === undefined)
    headers['transfer-encoding'] = 'chunked'
}
