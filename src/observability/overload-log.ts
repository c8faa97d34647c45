/** One line a second about requests that were refused unseen: a line for each would add to the load. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from 'pino'

const EVERY_MS = 1000

/** What is returned is called once for each refused request. */
export function createOverloadLog(logger: Logger): () => void {
  let refused = 0
  const report = () => {
    logger.warn({ refused }, 'requests were refused: more came than could be answered in time')
    refused = 0
  }
  return () => {
    refused += 1
    if (refused === 1) setTimeout(report, EVERY_MS).unref()
  }
}
