/** Binding servers to addresses. */
// SPDX-License-Identifier: Apache-2.0
import type { Server } from 'node:net'
import { createPingServer, type Ping } from './ping.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface BoundServer {
  readonly address: Address
  close(): Promise<void>
}

/** Resolves to where `server` listens; port 0 has become the one that was free. */
export function listen(server: Server, at: Address): Promise<Address> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(at.port, at.host, () => {
      server.removeListener('error', reject)
      const bound = server.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : at.port
      resolve({ host: at.host, port })
    })
  })
}

/** The plain port for load balancers. It outlives the draining of the TLS port, to say 503 there. */
export async function startPingServer(ping: Ping, at: Address): Promise<BoundServer> {
  const server = createPingServer(ping)
  const address = await listen(server, at)
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve()
        })
        server.closeAllConnections()
      }),
  }
}
