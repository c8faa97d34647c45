/** Shuts down without dropping a request. */
// SPDX-License-Identifier: Apache-2.0
import { pause } from '../core/deadline.ts'
import { periodic } from '../core/periodic.ts'
import type { ListenerConfig } from '../config/config.ts'
import type { Listener } from './server.ts'
import type { Ping } from './ping.ts'

const SWEEP_MS = 100

/**
 * Drains a listener. First, /ping returns 503 while the listener still serves, so that load
 * balancers stop sending traffic. Then no new connection is accepted, requests in flight end, and
 * the connections left after the deadline are cut.
 */
export async function drain(
  listener: Listener,
  ping: Ping,
  config: ListenerConfig['drain'],
): Promise<void> {
  const { server } = listener.tls
  ping.startDraining()
  if (config.delayMs > 0) await pause(config.delayMs)
  listener.startDraining()
  const closed = new Promise<void>((resolve) => {
    server.close(() => {
      resolve()
    })
  })
  server.closeIdleConnections()
  // A connection that is in the middle of a handshake becomes idle only later, so idle connections
  // are closed repeatedly.
  const sweeping = periodic({
    intervalMs: SWEEP_MS,
    work: () => {
      server.closeIdleConnections()
    },
    onError: () => undefined, // closing a connection never throws
  })
  listener.tls.closeSessions()
  // When the time limit expires, close the connections that are still open.
  const cut = setTimeout(() => {
    listener.tls.destroyConnections()
  }, config.timeoutMs)
  await closed
  clearTimeout(cut)
  await sweeping.stop()
}
