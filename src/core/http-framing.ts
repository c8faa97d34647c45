/** Framing of HTTP/1 requests that Node's parser takes, but HTTP forbids. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'

/**
 * Returns why a body's framing cannot be trusted. RFC 9112, 6.1: a transfer coding in an HTTP/1.0
 * message is faulty framing, and the only coding that we support is chunked. The connection must
 * end with the answer, because a proxy in front may see another end of the request.
 */
export function findFramingFault({
  headers,
  httpVersion,
}: Pick<IncomingMessage, 'headers' | 'httpVersion'>): 'faulty' | 'unsupported' | undefined {
  const codings = headers['transfer-encoding']
  if (codings === undefined) return undefined
  if (httpVersion === '1.0') return 'faulty'
  return codings.toLowerCase() === 'chunked' ? undefined : 'unsupported'
}
