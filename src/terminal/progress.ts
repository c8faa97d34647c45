/**
 * The progress line of a long operation. It is erased with spaces instead of an escape sequence, so
 * that it also works when NO_COLOR is set.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../core/clock.ts'
import { UNPRINTABLE } from '../core/remark.ts'

/** Minimum interval between updates, in milliseconds. Writing to a terminal is slow. */
const EVERY_MS = 100

interface ProgressLine {
  readonly show: (text: string) => void
  readonly end: () => void
}

/** Creates a progress line, which shows nothing unless standard error is a terminal. */
export function createProgressLine({
  stderr,
  stderrColumns: columns,
}: {
  readonly stderr: (text: string) => void
  /** Width of the terminal; absent if standard error is not a terminal. */
  readonly stderrColumns?: number
}): ProgressLine {
  let shown = 0
  let shownAt = -Infinity
  const end = () => {
    if (shown > 0) stderr(`\r${' '.repeat(shown)}\r`)
    shown = 0
  }
  return {
    show(text) {
      const now = systemClock.monotonic()
      if (columns === undefined || now - shownAt < EVERY_MS) return
      shownAt = now
      // A line as wide as the terminal would wrap, and a wrapped line cannot be erased.
      const line = `latchkey: ${text.replace(UNPRINTABLE, '\uFFFD')}`.slice(0, columns - 1)
      stderr(`\r${line.padEnd(shown)}`)
      shown = line.length
    },
    end,
  }
}
