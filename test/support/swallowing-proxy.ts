/** A TCP proxy that can fall silent: connections stay open, but no data passes. */
// SPDX-License-Identifier: Apache-2.0
import { connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface SwallowingProxy {
  readonly port: number
  /** Sets the port to which new connections are forwarded. */
  aim(port: number): void
  swallow(yes: boolean): void
}

export async function swallowingProxy(t: Test): Promise<SwallowingProxy> {
  let target = 0
  let isSwallowing = false
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    const pipe = (from: Socket, to: Socket) => {
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
      from.on('data', (chunk) => {
        if (!isSwallowing) to.write(chunk)
      })
    }
    pipe(near, far)
    pipe(far, near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    aim(port) {
      target = port
    },
    swallow(yes) {
      isSwallowing = yes
    },
  }
}
