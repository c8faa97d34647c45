/** Connections from a load balancer that says, before TLS begins, whose they are. */
// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net'
import type { IsPeer } from './peers.ts'
import { parseProxyHeader, type ProxyHeader } from './proxy-protocol.ts'

export interface ProxiedOptions {
  /** Who has to send the header. Everybody else's connections begin with TLS. */
  readonly isPeer: IsPeer
  /** Milliseconds until the header must be there. */
  readonly timeoutMs: number
  readonly onRefused: (reason: string, remoteAddress: string | undefined) => void
}

/**
 * Calls `start` with the connection when TLS can begin. Only named peers are believed: from anybody else a
 * header is no TLS, and fails as such; and a named peer without a header is a balancer that is set up wrongly.
 */
export function createProxied(
  options: ProxiedOptions,
): (socket: Socket, start: (source: ProxyHeader['source']) => void) => void {
  return (socket, start) => {
    if (!options.isPeer(socket.remoteAddress)) {
      start(undefined)
      return
    }
    const { remoteAddress } = socket
    let data: Buffer = Buffer.alloc(0)
    const end = () => {
      clearTimeout(timer)
      socket.removeListener('readable', onReadable)
      socket.removeListener('error', refuse)
      socket.removeListener('close', end)
    }
    const refuse = () => {
      end()
      options.onRefused('PROXY_HEADER', remoteAddress)
      socket.destroy()
    }
    const onReadable = () => {
      for (let chunk = read(socket); chunk !== null; chunk = read(socket)) {
        data = Buffer.concat([data, chunk])
      }
      const header = parseProxyHeader(data)
      if (header === 'incomplete') return
      if (header === 'invalid') {
        refuse()
        return
      }
      end()
      // A TLS socket first takes what is buffered here.
      if (data.length > header.length) socket.unshift(data.subarray(header.length))
      start(header.source)
    }
    const timer = setTimeout(refuse, options.timeoutMs)
    socket.on('readable', onReadable)
    socket.on('error', refuse)
    socket.on('close', end)
  }
}

function read(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null
}
