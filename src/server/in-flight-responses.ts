/**
 * Tracks released answers until Node has passed them to the kernel: some must wait until their peer
 * reads.
 */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http'

/** An answer that can be checked again until it has been sent. */
export interface Releasable {
  isAllowed(): boolean
  /** Called once the kernel has the whole answer. */
  sent(): void
}

export interface InFlightResponses {
  add(answer: Releasable, request: IncomingMessage, response: ServerResponse): void
  /**
   * Gives answers that are no longer allowed a moment to reach the kernel, which counts as sent,
   * and then cuts the connections of the others. Resolves when none is left. Otherwise, an answer
   * that waits behind another one, or for a peer that does not read, would be sent later.
   */
  cutRevoked(): Promise<void>
}

interface Waiting {
  readonly answer: Releasable
  readonly request: IncomingMessage
}

/** HTTP/2 writes at the end of a turn of the event loop, and Node reports it one turn later. */
const GRACE_TURNS = 3

/** @param cut destroys the connection of a request */
export function createInFlightResponses(
  cut: (request: IncomingMessage) => void,
): InFlightResponses {
  // An array, because V8 keeps alive what has passed through a busy Map or Set:
  // docs/internals/performance.md.
  const waiting: Waiting[] = []
  const findRevoked = () => waiting.filter(({ answer }) => !answer.isAllowed())

  return {
    add(answer, request, response) {
      // The peer has already gone away, so there will be no event.
      if (response.destroyed || request.socket.destroyed) return
      const entry = { answer, request }
      waiting.push(entry)
      response.on('close', () => {
        // If the entry is missing, the answer was cut and was not sent.
        if (remove(waiting, entry) && response.writableFinished) answer.sent()
      })
    },
    async cutRevoked() {
      for (let turn = 0; turn < GRACE_TURNS && findRevoked().length > 0; turn++) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      for (const entry of findRevoked()) {
        // Cuts the whole connection, because an answer cannot be withdrawn once part of it is
        // written.
        cut(entry.request)
        remove(waiting, entry)
      }
    },
  }
}

/**
 * Fills the gap with the last entry, because the order does not matter. Returns false when the
 * entry is not in the list.
 */
function remove(list: Waiting[], entry: Waiting): boolean {
  const index = list.indexOf(entry)
  if (index < 0) return false
  const last = list.pop()
  if (last !== undefined && last !== entry) list[index] = last
  return true
}
