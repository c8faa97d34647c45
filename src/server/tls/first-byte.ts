/** When the first byte of a request was there, which is when KMS's patience begins to run out. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'

/** Place of the callback in Node's HTTP parser that is called at the start of a message; unused by Node itself. */
const ON_MESSAGE_BEGIN = 0

interface Parser {
  [ON_MESSAGE_BEGIN]: ((this: Parser) => void) | null
  latchkeyBegunAt?: number | undefined
}

const parserOf = (socket: unknown) => (socket as { readonly parser?: Parser | null }).parser

/** Once for each connection that speaks HTTP/1.1, when its parser is there. */
export function watchFirstBytes(socket: Socket, clock: Clock): void {
  const parser = parserOf(socket)
  if (parser === undefined || parser === null) return
  // Node uses parsers again for other connections.
  parser.latchkeyBegunAt = undefined
  parser[ON_MESSAGE_BEGIN] = function () {
    this.latchkeyBegunAt = clock.monotonic()
  }
}

/** Whether no byte of a request ever came on a connection that speaks HTTP/1.1. */
export function isUnused(socket: Socket): boolean {
  return parserOf(socket)?.latchkeyBegunAt === undefined
}

/**
 * Monotonic milliseconds, for a request whose head was just read. HTTP/2 does not say it: there a head
 * is read in no time.
 */
export function firstByteAt(message: IncomingMessage, clock: Clock): number {
  return parserOf(message.socket)?.latchkeyBegunAt ?? clock.monotonic()
}
