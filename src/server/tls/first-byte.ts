/** Records when the first byte of a request arrived, because KMS's timeout counts from then. */
// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../core/clock.ts'

/**
 * Index of the callback that Node's HTTP parser calls at the start of a message; Node itself does
 * not use it.
 */
const ON_MESSAGE_BEGIN = 0

interface Parser {
  [ON_MESSAGE_BEGIN]: ((this: Parser) => void) | null
  latchkeyBegunAt?: number | undefined
}

const parserOf = (socket: unknown) => (socket as { readonly parser?: Parser | null }).parser

/** Call once per HTTP/1.1 connection, after its parser has been created. */
export function watchFirstBytes(socket: Socket, clock: Clock): void {
  const parser = parserOf(socket)
  if (parser === undefined || parser === null) return
  // Node reuses parsers, so this clears the time recorded for an earlier connection.
  parser.latchkeyBegunAt = undefined
  parser[ON_MESSAGE_BEGIN] = function () {
    this.latchkeyBegunAt = clock.monotonic()
  }
}

/** Reports whether no byte of a request ever arrived on an HTTP/1.1 connection. */
export function isUnused(socket: Socket): boolean {
  return parserOf(socket)?.latchkeyBegunAt === undefined
}

/**
 * Returns the monotonic time, in milliseconds, at which a request whose head was just read began to
 * arrive. HTTP/2 does not provide that time, but reads a head almost instantly.
 */
export function firstByteAt(message: IncomingMessage, clock: Clock): number {
  return parserOf(message.socket)?.latchkeyBegunAt ?? clock.monotonic()
}
