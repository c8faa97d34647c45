/**
 * The log interface that every component uses. The observability component chooses the library
 * behind it.
 */
// SPDX-License-Identifier: Apache-2.0

/** Logs an event: a short message in lower case, with the values in fields. */
type LogEvent = (message: string, fields?: object) => void

export interface Logger {
  readonly info: LogEvent
  /** For events that need an operator's attention; the message says what to do. */
  readonly warn: LogEvent
  /** For a failure of the program or its environment. An Error is logged in the field `err`. */
  readonly error: LogEvent
}

const ignore: LogEvent = () => undefined

/** Discards all events. Used by commands, which report on the terminal instead. */
export const silentLogger: Logger = { info: ignore, warn: ignore, error: ignore }
