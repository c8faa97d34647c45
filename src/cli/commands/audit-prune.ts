/** Implements `latchkey audit prune`. */
// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path'
import { pruneLogsOf } from '../../app/audit-prune.ts'
import {
  CONFIG_FLAG,
  type Command,
  loadControlConfig,
  stringFlag,
  UsageError,
  YES_FLAG,
} from '../../terminal/command.ts'
import { REASON_FLAGS, parseReason } from '../../terminal/flags/scope.ts'
import { parsePast } from '../../terminal/flags/time.ts'

export const auditPrune: Command = {
  flags: {
    before: {
      type: 'string',
      value: 'WHEN',
      description: 'Remove entries older than this: 90d, 52w or a date (required).',
    },
    ...REASON_FLAGS,
    ...YES_FLAG,
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey audit prune --before 400d --reason "retention of 400 days"',
    'latchkey audit prune --before 2026-01-01 --reason "retention of 400 days" --yes',
  ],
  async run(context) {
    const before = stringFlag(context, 'before')
    if (before === undefined) throw new UsageError('USAGE', '--before is missing')
    const isConfirmed = context.flags['yes'] === true
    const config = await loadControlConfig(context)
    const logs = await pruneLogsOf(config, {
      ...{ before: parsePast(before), isConfirmed },
      ...parseReason(context),
    })
    const rows = logs.map(({ folder, size, entries, prunedBefore }) => [
      ...[basename(folder), String(size), String(prunedBefore), String(entries)],
    ])
    context.output.result(
      logs.length === 0
        ? 'no bundle of entries is that old'
        : context.output.table(['LOG', 'ENTRIES', 'PRUNED BEFORE', 'PRUNED NOW'], rows),
      { isDone: isConfirmed, logs },
    )
    for (const { folder, leftOver } of logs.filter((one) => one.leftOver > 0)) {
      const count = `${String(leftOver)} pruned bundles that an interrupted prune left behind`
      context.output.note(`${basename(folder)}: ${isConfirmed ? 'removed' : 'found'} ${count}`)
    }
    if (!isConfirmed && logs.length > 0) {
      context.output.note('nothing was removed; add --yes to remove these entries for good')
    }
  },
}
