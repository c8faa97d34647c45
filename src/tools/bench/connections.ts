/**
 * Connections to the proxy: persistent connections, a new connection for each request, or HTTP/2 streams.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  openConnection,
  type Connection,
  type WireAnswer,
  type WireRequest,
} from '../../kms/client/connection.ts'
import type { Endpoint } from '../../kms/client/dial.ts'

export const CONNECTION_KINDS = ['kept', 'new', 'http2'] as const
export type ConnectionKind = (typeof CONNECTION_KINDS)[number]

/** A connection that carries one request at a time. */
export interface LoadConnection {
  send(request: WireRequest): Promise<WireAnswer>
  close(): void
}

export interface ConnectionOptions {
  readonly kind: ConnectionKind
  /** Maximum number of requests in flight. */
  readonly count: number
  readonly timeoutMs: number
}

/** Number of HTTP/2 streams per connection. */
const STREAMS_PER_CONNECTION = 16

/** Opens the persistent connections, so that a run does not begin with a burst of handshakes. @throws EndpointError */
export async function openConnections(
  endpoint: Endpoint,
  options: ConnectionOptions,
): Promise<readonly LoadConnection[]> {
  const { kind, count } = options
  if (kind === 'new') return Array.from({ length: count }, () => newConnection(endpoint, options))
  if (kind === 'kept') {
    return openAll(count, () => keptConnection(endpoint, options, ['http/1.1']))
  }
  const connections = Math.ceil(count / STREAMS_PER_CONNECTION)
  const shared = await openAll(connections, () =>
    keptConnection(endpoint, options, ['h2', 'http/1.1']),
  )
  return Array.from({ length: count }, (_, i) => {
    const connection = shared[i % shared.length]
    if (connection === undefined) throw new TypeError('there is no connection')
    return connection
  })
}

/** Opens a few connections at a time, so that the server does not mistake them for an attack. */
async function openAll(
  count: number,
  open: () => Promise<LoadConnection>,
): Promise<readonly LoadConnection[]> {
  const connections: LoadConnection[] = []
  while (connections.length < count) {
    const some = Math.min(8, count - connections.length)
    connections.push(...(await Promise.all(Array.from({ length: some }, open))))
  }
  return connections
}

async function keptConnection(
  endpoint: Endpoint,
  options: ConnectionOptions,
  alpn: readonly string[],
): Promise<LoadConnection> {
  const { timeoutMs } = options
  let connection = await openConnection(endpoint, { timeoutMs, alpn })
  let reopening: Promise<Connection> | undefined
  return {
    async send(request) {
      if (!connection.isOpen()) {
        // The proxy may close the connection at any time. Several streams then wait for one new connection.
        reopening ??= openConnection(endpoint, { timeoutMs, alpn }).finally(
          () => (reopening = undefined),
        )
        connection = await reopening
      }
      return connection.exchange(request, timeoutMs)
    },
    close() {
      connection.close()
    },
  }
}

function newConnection(endpoint: Endpoint, { timeoutMs }: ConnectionOptions): LoadConnection {
  return {
    async send(request) {
      const connection = await openConnection(endpoint, { timeoutMs })
      try {
        return await connection.exchange(request, timeoutMs)
      } finally {
        connection.close()
      }
    },
    close: () => undefined,
  }
}
