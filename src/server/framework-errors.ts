/**
 * Checks that the request line and framing conform to HTTP, and converts the errors of Node and
 * Fastify to XKS responses.
 */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { findFramingFault } from '../core/http-framing.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import { XksError } from '../xks/errors.ts'

/** Converts an error that Fastify found before its handler ran. */
export function toFault(error: unknown): XksError {
  switch ((error as { code?: unknown }).code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      // The status is not 413, because the specification has its own error for an oversized
      // parameter.
      return new XksError(
        'UnsupportedOperationException',
        'The request body is larger than this proxy supports.',
        { headers: { connection: 'close' }, reason: 'BODY_TOO_LARGE' },
      )
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new XksError(
        'ValidationException',
        'The length of the request body does not match the Content-Length header.',
        {
          headers: { connection: 'close' },
        },
      )
    case 'ECONNRESET':
      // The caller disconnected in the middle of the body, so this error appears only in the log.
      return new XksError('ValidationException', undefined, { reason: 'BODY_CUT_OFF' })
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
    case 'FST_ERR_CTP_EMPTY_TYPE':
      return new XksError('ValidationException', 'The content type must be application/json.')
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new XksError('InvalidUriPathException')
    default:
      return new XksError('InternalException', undefined, { reason: 'FRAMEWORK', cause: error })
  }
}

/**
 * Status line and message to send when bytes cannot be parsed as a request, by Node's error code.
 */
const UNPARSABLE: ReadonlyMap<string, readonly [string, string]> = new Map([
  [
    'HPE_HEADER_OVERFLOW',
    ['431 Request Header Fields Too Large', 'The request headers are too large.'],
  ],
  ['ERR_HTTP_REQUEST_TIMEOUT', ['408 Request Timeout', 'The request did not arrive in time.']],
])
const NOT_HTTP = ['400 Bad Request', 'The request is not valid HTTP.'] as const

/** Writes a response to the bare socket and closes it. Returns Node's code for the log. */
export function refuseUnparsable(
  schemas: ApiSchemas,
  error: NodeJS.ErrnoException,
  socket: Socket,
): string {
  const code = error.code ?? 'UNKNOWN'
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return code
  }
  const [statusLine, errorMessage] = UNPARSABLE.get(code) ?? NOT_HTTP
  endWith(schemas, socket, statusLine, errorMessage)
  return code
}

const ONLY_POST = 'The only allowed method is POST.'

/** Refuses CONNECT on HTTP/1.1, for which Node passes only the bare socket. */
export function refuseConnect(schemas: ApiSchemas, socket: Socket): void {
  endWith(schemas, socket, '405 Method Not Allowed', ONLY_POST)
}

/** Refuses CONNECT on an HTTP/2 stream. */
export function refuseConnectStream(schemas: ApiSchemas, response: ServerResponse): void {
  const body = toBody(schemas, ONLY_POST)
  response.writeHead(405, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}

const toBody = (schemas: ApiSchemas, errorMessage: string) =>
  schemas.encode('ErrorResponse', { errorName: 'ValidationException', errorMessage })

function endWith(
  schemas: ApiSchemas,
  socket: Socket,
  statusLine: string,
  errorMessage: string,
): void {
  const body = toBody(schemas, errorMessage)
  socket.end(
    `HTTP/1.1 ${statusLine}\r\ncontent-type: application/json\r\n` +
      `content-length: ${String(Buffer.byteLength(body))}\r\nconnection: close\r\n\r\n${body}`,
    () => {
      socket.destroy()
    },
  )
}

interface Http2Request extends IncomingMessage {
  readonly stream?: { readonly endAfterHeaders: boolean }
}

/** Returns what is wrong with a parsed request; undefined if it is valid HTTP. */
export function findHttpFault(request: IncomingMessage): XksError | undefined {
  const { headers, httpVersionMajor } = request
  if (httpVersionMajor === 2) {
    // RFC 9113, 8.3.1: a server must treat a request as malformed if its Host differs from
    // :authority.
    const { host } = headers
    const authority = headers[':authority']
    if (host === undefined || authority === undefined || host === authority) return undefined
    return new XksError('ValidationException', 'The Host header differs from :authority.', {
      reason: 'HOST_DIFFERS',
    })
  }
  const framing = findFramingFault(request)
  if (framing === undefined) return undefined
  const details = { headers: { connection: 'close' }, reason: 'TRANSFER_CODING' }
  // RFC 9112, 6.1 specifies 501 for a transfer coding that the server does not support.
  return framing === 'unsupported'
    ? new XksError(
        'UnsupportedOperationException',
        'The only supported transfer coding is chunked.',
        details,
      )
    : new XksError('ValidationException', 'HTTP/1.0 has no transfer codings.', details)
}

/**
 * HTTP/2 frames a body itself, so a request with a body needs neither a content length nor a
 * content type. Fastify reads a body only when a header announces it, so this function adds the
 * header that HTTP/1.1 would have.
 */
export function announceBody(request: IncomingMessage): void {
  const { headers, stream } = request as Http2Request
  if (stream === undefined || stream.endAfterHeaders) return
  if (headers['content-type'] === undefined && headers['content-length'] === undefined)
    headers['transfer-encoding'] = 'chunked'
}
