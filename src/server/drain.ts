/** Going away without dropping a request. */
// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises'
import type { ListenerConfig } from '../config/config.ts'
import type { Listener } from './server.ts'
import type { Ping } from './ping.ts'

const SWEEP_MS = 100

/**
 * First /ping says 503 while the listener still serves, so that load balancers turn away; then
 * nothing new is accepted, requests in flight end, and what is left after the deadline is cut.
 */
export async function drain(
  listener: Listener,
  ping: Ping,
  config: ListenerConfig['drain'],
): Promise<void> {
  const { server } = listener.tls
  ping.startDraining()
  if (config.delayMs > 0) await sleep(config.delayMs)
  listener.startDraining()
  const closed = new Promise<void>((resolve) => {
    server.close(() => {
      resolve()
    })
  })
  server.closeIdleConnections()
  // Those that were in the middle of a handshake become idle only now.
  const sweep = setInterval(() => {
    server.closeIdleConnections()
  }, SWEEP_MS)
  listener.tls.closeSessions()
  const cut = setTimeout(() => {
    listener.tls.destroyConnections()
  }, config.timeoutMs)
  await closed
  clearTimeout(cut)
  clearInterval(sweep)
}
