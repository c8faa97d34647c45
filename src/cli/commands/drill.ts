/** Implements `latchkey drill`. */
// SPDX-License-Identifier: Apache-2.0
import { CONFIG_FLAG, type Command, KEY_STORE_FLAG, findKeyStore } from '../../terminal/command.ts'
import { REASON_FLAGS, parseOperator } from '../../terminal/flags/scope.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { withOperator } from '../operator.ts'

export const drill: Command = {
  flags: { ...KEY_STORE_FLAG, operator: REASON_FLAGS.operator, ...CONTEXT_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey drill', 'latchkey drill --key-store payroll --json'],
  async run(context) {
    await withOperator(context, async (control, place) => {
      const { name } = findKeyStore(context, place)
      const done = await control.drill({ keyStore: name, operator: parseOperator(context) })
      const rows = done.instances.map(({ id, host, pid, worker, how, afterMs }) => [
        ...[id.slice(0, 8), host, String(pid), String(worker), how, `${afterMs.toFixed(0)} ms`],
      ])
      context.output.result(
        [
          `revoked after ${String(done.revokedAfterMs)} ms, restored after ${String(done.restoredAfterMs)} ms`,
          rows.length === 0
            ? 'no instance is running, so the drill measured only the store'
            : context.output.table(['INSTANCE', 'HOST', 'PID', 'WORKER', 'HOW', 'AFTER'], rows),
        ].join('\n'),
        done,
      )
    })
  },
}
