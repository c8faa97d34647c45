/**
 * Tracks released responses until Node has passed them to the kernel, because a response may have
 * to wait until its peer reads.
 */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http'

/** A response that may be revoked until it has been sent. */
export interface Releasable {
  isAllowed(): boolean
  /** Called once the kernel has the whole response. */
  sent(): void
}

export interface InFlightResponses {
  add(answer: Releasable, request: IncomingMessage, response: ServerResponse): void
  /**
   * Waits briefly for each revoked response to reach the kernel, where it counts as sent, and then
   * cuts the connections of those that remain. Otherwise, a response queued behind another one, or
   * for a peer that does not read, would be sent later. Resolves when no revoked response is left.
   */
  cutRevoked(): Promise<void>
}

interface Waiting {
  readonly answer: Releasable
  readonly request: IncomingMessage
}

/**
 * HTTP/2 writes at the end of a turn of the event loop, and Node reports the write one turn later.
 */
const GRACE_TURNS = 3

/** @param cut destroys the connection of a request */
export function createInFlightResponses(
  cut: (request: IncomingMessage) => void,
): InFlightResponses {
  // This is an array, because V8 keeps the entries of a busy Map or Set alive:
  // docs/internals/performance.md.
  const waiting: Waiting[] = []
  const findRevoked = () => waiting.filter(({ answer }) => !answer.isAllowed())

  return {
    add(answer, request, response) {
      // The peer has already disconnected, so no `close` event will follow.
      if (response.destroyed || request.socket.destroyed) return
      const entry = { answer, request }
      waiting.push(entry)
      response.on('close', () => {
        // If the entry is missing, the response was cut and was not sent.
        if (remove(waiting, entry) && response.writableFinished) answer.sent()
      })
    },
    async cutRevoked() {
      for (let turn = 0; turn < GRACE_TURNS && findRevoked().length > 0; turn++) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      for (const entry of findRevoked()) {
        // Cuts the whole connection, because a response cannot be withdrawn once part of it is
        // written.
        cut(entry.request)
        remove(waiting, entry)
      }
    },
  }
}

/**
 * Removes an entry and fills the gap with the last entry, because the order does not matter.
 * Returns false if the entry is not in the list.
 */
function remove(list: Waiting[], entry: Waiting): boolean {
  const index = list.indexOf(entry)
  if (index < 0) return false
  const last = list.pop()
  if (last !== undefined && last !== entry) list[index] = last
  return true
}
