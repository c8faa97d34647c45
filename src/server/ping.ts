/**
 * Tells load balancers whether this instance wants traffic, on the TLS port and on a plain HTTP
 * port.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import { limitConnections } from '../core/connection-slots.ts'
import type { ManagerHealth } from '../keys/key-backend.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'

const MAX_CONNECTIONS = 100

export interface Ping {
  /**
   * @param deep whether to also evaluate the cached health of the key managers; this never runs a
   * new check
   */
  answer(deep: boolean): { readonly status: 200 | 503; readonly body: string }
  /**
   * Call when this instance is ready. Before this call, /ping always returns 503; after it, only
   * while the instance cannot serve.
   */
  startServing(): void
  /**
   * Returns 503 from now on, so that load balancers stop sending traffic before the listener
   * closes.
   */
  startDraining(): void
}

export interface PingDeps {
  readonly schemas: ApiSchemas
  /** Cached health of every key store's managers. */
  readonly health: () => readonly (readonly ManagerHealth[])[]
  /** Reports whether this instance holds a lease and is not blocked entirely. */
  readonly canServe: () => boolean
}

export function createPing(deps: PingDeps): Ping {
  let state: 'starting' | 'serving' | 'draining' = 'starting'
  const encode = (status: 'ok' | 'draining' | 'unavailable') =>
    deps.schemas.encode('PingResponse', { status })

  /** A single key store without a usable manager makes the instance unavailable. */
  function isServing(): boolean {
    return deps.health().every((managers) => managers.some((m) => m.status !== 'UNAVAILABLE'))
  }

  return {
    answer(deep) {
      if (state === 'draining') return { status: 503, body: encode('draining') }
      if (state === 'starting' || !deps.canServe() || (deep && !isServing()))
        return { status: 503, body: encode('unavailable') }
      return { status: 200, body: encode('ok') }
    },
    startServing() {
      state = 'serving'
    },
    startDraining() {
      state = 'draining'
    },
  }
}

/**
 * Parses the target `/ping`, with or without a query; a query with the parameter `deep` asks for a
 * deep check. Returns undefined for any other target.
 */
export function parsePing(target: string): { readonly deep: boolean } | undefined {
  const [path, query] = target.split('?', 2)
  if (path !== '/ping') return undefined
  return { deep: new URLSearchParams(query ?? '').has('deep') }
}

/** Creates a server that responds only to GET and HEAD of /ping. */
export function createPingServer(ping: Ping): http.Server {
  const server = http.createServer(
    { requestTimeout: 5000, headersTimeout: 5000, connectionsCheckingInterval: 1000 },
    (request, response) => {
      const asked = parsePing(request.url ?? '')
      const isRead = request.method === 'GET' || request.method === 'HEAD'
      if (asked === undefined || !isRead) {
        response.writeHead(404).end()
        return
      }
      const { status, body } = ping.answer(asked.deep)
      response.writeHead(status, { 'content-type': 'application/json', connection: 'close' })
      response.end(body)
    },
  )
  limitConnections(server, MAX_CONNECTIONS)
  return server
}
