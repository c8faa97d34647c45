/** Checks for framing of HTTP/1 requests that Node's parser accepts although HTTP forbids it. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'

/**
 * Returns why a body's framing cannot be trusted. RFC 9112, 6.1: a transfer coding in an HTTP/1.0
 * message is faulty framing, and chunked is the only coding that we support. The connection must
 * close after the answer, because a proxy in front may see the end of the request elsewhere.
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
