/** Implements `latchkey events`. */
// SPDX-License-Identifier: Apache-2.0
import { pause } from '../../core/deadline.ts'
import type { ControlStatus } from '../../killswitch/operator/status.ts'
import { type Command } from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { countFlag } from '../../terminal/flags/time.ts'
import { withOperator } from '../operator.ts'

const FOLLOW_MS = 2000
const DEFAULT_COUNT = 20
/** The rest of the status is not needed. */
const VIEW = { limit: 0 }
/** A listener returns at most this many events. */
const MOST_EVENTS = 999_999

export const events: Command = {
  flags: {
    limit: {
      type: 'string',
      value: 'NUMBER',
      description: 'Number of most recent events to show (default: 20).',
    },
    follow: { type: 'boolean', description: 'Show new events as they are recorded, until Ctrl-C.' },
    ...PLACE_FLAGS,
  },
  examples: ['latchkey events --limit 100', 'latchkey events --follow'],
  async run(context) {
    const { output } = context
    const range = { otherwise: DEFAULT_COUNT, least: 1, most: MOST_EVENTS }
    const limit = countFlag(context, 'limit', range)
    await withOperator(context, async (control) => {
      const found = [...(await control.status(limit, VIEW)).events].reverse()
      if (context.flags['follow'] !== true) {
        output.result(output.fold(found.map(toLine).join('\n') || 'no events'), found)
        return
      }
      // Print each event as a separate result: a line of text, or a document.
      for (const event of found) output.result(output.fold(toLine(event)), event)
      let last = found.at(-1)?.seq ?? 0
      for (;;) {
        await pause(FOLLOW_MS)
        const newest = (await control.status(1, VIEW)).events[0]?.seq ?? last
        if (newest === last) continue
        const more = [...(await control.status(newest - last, VIEW)).events].reverse()
        for (const event of more.filter(({ seq }) => seq > last)) {
          output.result(output.fold(toLine(event)), event)
        }
        last = Math.max(last, newest)
      }
    })
  },
}

function toLine({
  seq,
  at,
  epoch,
  kind,
  operator,
  detail,
}: ControlStatus['events'][number]): string {
  const head = `${String(seq)}  ${new Date(at).toISOString()}  epoch ${String(epoch)}`
  return `${head}  ${kind} by ${operator}  ${JSON.stringify(detail)}`
}
