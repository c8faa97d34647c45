/** Answers that were released and handed to Node, until they are through: some wait for their peer to read. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http'

/** An answer that can be asked again whether it may go out. */
export interface Releasable {
  isAllowed(): boolean
  /** All of it is with the kernel. */
  sent(): void
}

export interface InFlightResponses {
  add(answer: Releasable, request: IncomingMessage, response: ServerResponse): void
  /**
   * Gives answers that are no longer allowed a moment to get to the kernel, which counts as sent, and
   * then cuts the connections of those that are still here. Resolves when none is left: an answer that
   * waits behind another one, or for a peer that does not read, would otherwise leave afterwards.
   */
  cutRevoked(): Promise<void>
}

interface Waiting {
  readonly answer: Releasable
  readonly request: IncomingMessage
}

/** HTTP/2 writes what it has at the end of a turn of the event loop, and Node tells us one turn later. */
const GRACE_TURNS = 3

/** @param cut destroys the connection of a request */
export function createInFlightResponses(
  cut: (request: IncomingMessage) => void,
): InFlightResponses {
  // An array, because V8 keeps what has passed through a busy Map or Set alive: docs/performance.md.
  const waiting: Waiting[] = []
  const findRevoked = () => waiting.filter(({ answer }) => !answer.isAllowed())

  return {
    add(answer, request, response) {
      // A peer that went away before: there will be no event.
      if (response.destroyed || request.socket.destroyed) return
      const entry = { answer, request }
      waiting.push(entry)
      response.on('close', () => {
        // Not there: it was cut, and did not leave.
        if (remove(waiting, entry) && response.writableFinished) answer.sent()
      })
    },
    async cutRevoked() {
      for (let turn = 0; turn < GRACE_TURNS && findRevoked().length > 0; turn++) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      for (const entry of findRevoked()) {
        // The connection, not only this answer: what is written is not taken back by halves.
        cut(entry.request)
        remove(waiting, entry)
      }
    },
  }
}

/** Fills the gap with the last entry: the order does not matter. False when the entry is not in the list. */
function remove(list: Waiting[], entry: Waiting): boolean {
  const index = list.indexOf(entry)
  if (index < 0) return false
  const last = list.pop()
  if (last !== undefined && last !== entry) list[index] = last
  return true
}
