/**
 * Limits the open connections of a server. Clients that connect and stay idle without identifying
 * themselves must not keep out a caller that can identify itself, so a full server closes one of
 * their connections to make room for a new one.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Server, Socket } from 'node:net'

/** The place of one connection among the open connections of the server. */
export interface Slot {
  /** Call for each request, which shows that the connection is not idle. */
  touch(): void
  /**
   * Call when the peer has identified itself. From then on, its connection is never closed to make
   * room for another.
   */
  prove(): void
}

export interface ConnectionSlots {
  /** Returns the slot of a TCP connection, or of a TLS connection on it. */
  of(socket: Socket): Slot
  /** Open TCP connections, including those in a handshake. */
  readonly open: ReadonlySet<Socket>
}

const NO_SLOT: Slot = { touch: () => undefined, prove: () => undefined }

/**
 * When the server is full, closes the connection that has been idle the longest among those whose
 * peers have not identified themselves. If every peer has, the server refuses the new connection.
 * @param onEvicted called before a connection is closed
 */
export function limitConnections(
  server: Server,
  limit: number,
  onEvicted: (socket: Socket) => void = () => undefined,
): ConnectionSlots {
  const open = new Set<Socket>()
  /** Connections whose peers have not identified themselves, the longest-idle first. */
  const strangers = new Set<Socket>()
  const slots = new WeakMap<object, Slot>()

  // Above `maxConnections`, Node and the primary process of a cluster refuse connections before
  // they become sockets. Such a refusal is acceptable only when no open connection can be evicted.
  Object.defineProperty(server, 'maxConnections', {
    get: () => (strangers.size > 0 ? Infinity : limit),
    enumerable: true,
  })
  server.prependListener('connection', (socket: Socket) => {
    open.add(socket)
    socket.once('close', () => {
      open.delete(socket)
      strangers.delete(socket)
    })
    for (const stranger of strangers) {
      if (open.size <= limit) break
      open.delete(stranger)
      strangers.delete(stranger)
      onEvicted(stranger)
      stranger.destroy()
    }
    strangers.add(socket)
    slots.set(socket, {
      touch() {
        if (strangers.delete(socket)) strangers.add(socket)
      },
      prove: () => void strangers.delete(socket),
    })
  })
  return { of: (socket) => slots.get(tcpBelow(socket)) ?? NO_SLOT, open }
}

/** Node has no public property for the TCP socket beneath a TLS socket. */
export function tcpBelow(socket: Socket): Socket {
  return (socket as unknown as { readonly _parent?: Socket })._parent ?? socket
}
