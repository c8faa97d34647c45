/** Detects HTTP/1 request framing that Node's parser accepts although HTTP forbids it. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'

/**
 * Returns why a body's framing cannot be trusted, or undefined if it can. A transfer coding in an
 * HTTP/1.0 message is faulty framing (RFC 9112, 6.1), and chunked is the only coding that Latchkey
 * supports. The connection must close after the response, because a proxy in front of Latchkey may
 * disagree about where the request ends.
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
