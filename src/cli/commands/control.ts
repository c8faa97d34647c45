/** Implements `latchkey control accept-epoch`. */
// SPDX-License-Identifier: Apache-2.0
import { openKillSwitch } from '../../app/kill-switch.ts'
import { CONFIG_FLAG, type Command, YES_FLAG, loadControlConfig } from '../../terminal/command.ts'
import { REASON_FLAGS, parseReason } from '../../terminal/flags/scope.ts'

export const controlAcceptEpoch: Command = {
  flags: { ...REASON_FLAGS, ...YES_FLAG, ...CONFIG_FLAG },
  examples: [
    'latchkey control accept-epoch --reason "restored after a disk failure, switches compared" --yes',
  ],
  async run(context) {
    const by = parseReason(context)
    const config = await loadControlConfig(context)
    if (context.flags['yes'] !== true) {
      context.output.result(
        'would let servers continue from this store although they have seen a later one: changes made since the backup, such as kills, disabled keys and revocations, would no longer apply. Compare the two stores first. Add --yes to do it.',
        { wouldAccept: true, done: false },
      )
      return
    }
    const control = await openKillSwitch(config, { onOldStore: context.output.note })
    try {
      const epoch = await control.acceptEpoch(by)
      context.output.result(`servers continue from epoch ${String(epoch)}`, { epoch })
    } finally {
      await control.close()
    }
  },
}
