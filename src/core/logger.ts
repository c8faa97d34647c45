/** The log as every component sees it. Which library writes the lines is observability's business. */
// SPDX-License-Identifier: Apache-2.0

/** An event: a short message in lower case, and the values in fields. */
type LogEvent = (message: string, fields?: object) => void

export interface Logger {
  readonly info: LogEvent
  /** For what an operator must look at, with what to do. */
  readonly warn: LogEvent
  /** For a fault of the program or of what it stands on. An Error goes into the field `err`. */
  readonly error: LogEvent
}

const ignore: LogEvent = () => undefined

/** For commands, which say on the terminal what happened. */
export const silentLogger: Logger = { info: ignore, warn: ignore, error: ignore }
