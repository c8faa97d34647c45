/** `latchkey kill` */
// SPDX-License-Identifier: Apache-2.0
import { openControl } from '../../app/kill-switch.ts'
import type { Config } from '../../config/config.ts'
import { describeScope } from '../../killswitch/model.ts'
import type { Kill, KillOrder, Revocation } from '../../killswitch/operator/kill.ts'
import type { Control } from '../../killswitch/operator/service.ts'
import type { Receipt } from '../../killswitch/receipt/receipt.ts'
import type { Signed } from '../../killswitch/receipt/signature.ts'
import { StorageError } from '../../store/database.ts'
import {
  CONFIG_FLAG,
  type Command,
  UsageError,
  loadContextConfig,
  stringFlag,
} from '../../terminal/command.ts'
import {
  DIRECTION_FLAG,
  REASON_FLAGS,
  SCOPE_FLAGS,
  parseDirection,
  parseReason,
  parseScope,
} from '../../terminal/flags/scope.ts'
import { parseFuture } from '../../terminal/flags/time.ts'
import { toTable } from '../../terminal/output.ts'
import { REHEARSAL_FLAGS, checkNoRehearsal, rehearseKill } from './rehearse.ts'

export const kill: Command = {
  flags: {
    ...SCOPE_FLAGS,
    ...DIRECTION_FLAG,
    ...REASON_FLAGS,
    until: {
      type: 'string',
      value: 'WHEN',
      description: 'Lift it by itself then: 12h, 90d, or a date such as 2027-01-31.',
    },
    wait: { type: 'boolean', description: 'Wait until it holds everywhere; the default.' },
    'no-wait': { type: 'boolean', description: 'Return when it is written.' },
    ...REHEARSAL_FLAGS,
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey kill --key-store payroll --reason "contract ended"',
    'latchkey kill --all --reason "incident 4711" --json',
    'latchkey kill --account 111122223333 --direction decrypt --until 12h --reason "leak in CI"',
    'latchkey kill --rehearse --key-store payroll --since 7d',
  ],
  async run(context) {
    const { wait, 'no-wait': noWait } = context.flags
    if (wait === true && noWait === true) {
      throw new UsageError('USAGE', 'either --wait or --no-wait')
    }
    const config = await loadContextConfig(context)
    if (context.flags['rehearse'] === true) {
      const scope = parseScope(context, config)
      return rehearseKill(context, { scope, direction: parseDirection(context) ?? 'both' })
    }
    checkNoRehearsal(context)
    const until = stringFlag(context, 'until')
    const order: KillOrder = {
      scope: parseScope(context, config),
      direction: parseDirection(context) ?? 'both',
      ...parseReason(context),
      ...(until === undefined ? {} : { until: parseFuture(until) }),
    }
    const control = await openControl(config).catch((error: unknown) => {
      throw withHint(error, config)
    })
    try {
      const written = await insist(control, order).catch((error: unknown) => {
        throw withHint(error, config)
      })
      const doubting = control.doubt(order.scope)
      void doubting.then((doubt) => {
        if (doubt !== undefined) context.output.note(`warning: ${doubt}`)
      })
      const value = { scope: order.scope, direction: order.direction, switch: written.switch }
      const where = `${describeScope(order.scope)} (${describe(written)})`
      if (noWait === true) {
        const warning = await doubting
        context.output.result(`written: ${where}; not waited for the instances`, {
          ...value,
          state: 'written',
          epoch: written.epoch,
          ...(warning === undefined ? {} : { warning }),
        })
        return
      }
      context.output.note(`written: ${where}; waiting for the instances`)
      const revocation = await control.wait(written)
      // Before anything else is asked of the store, which may not answer any more.
      context.output.line(
        `revoked ${where} after ${toMs(revocation.elapsedMs)}\n${toRows(revocation)}`,
      )
      const warning = await doubting
      const receipt = await takeReceipt(control, order, written, revocation)
      context.output.result(
        receipt === undefined
          ? 'no receipt could be written: run the same command again for one'
          : `receipt: latchkey receipt show ${receipt.statement.id}`,
        {
          ...value,
          state: 'revoked',
          ...revocation,
          ...(warning === undefined ? {} : { warning }),
          ...(receipt === undefined ? {} : { receipt }),
        },
      )
    } finally {
      await control.close()
    }
  },
}

/** For the night on which the store is what is out of reach. */
function withHint(error: unknown, { control }: Config): unknown {
  if (!(error instanceof StorageError) || !NO_ANSWER.has(error.code)) return error
  return new StorageError(error.code, error.message, {
    cause: error,
    hint: `run it again; to stop a host without the store, make its sentinel file (touch ${control.sentinelFile}) or send its latchkey SIGUSR2`,
  })
}

const NO_ANSWER: ReadonlySet<string> = new Set([
  'STORE_UNREACHABLE',
  'STORE_TIMEOUT',
  'STORE_BUSY',
  'STORE_FAILED',
  'STORE_CORRUPT',
])

/** Enough to outlast a process that stands still with a lock in its hands. */
const TRIES = 5

/** Whether a failed attempt has written the switch is not known; a second switch like it is not made. */
async function insist(control: Control, order: KillOrder): Promise<Kill> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await control.kill(order)
    } catch (error) {
      if (attempt === TRIES) throw error
    }
  }
}

/** It is revoked, whether or not that can be written down. */
async function takeReceipt(
  control: Control,
  order: KillOrder,
  written: Kill,
  revocation: Revocation,
): Promise<Signed<Receipt> | undefined> {
  return control.receipt(order, written, revocation).catch(() => undefined)
}

function describe({ switch: made, isNew, epoch }: Kill): string {
  const at = `epoch ${String(epoch)}`
  if (made === undefined) {
    return `${at}; the store was changed outside of Latchkey, so everything is refused`
  }
  return `switch ${made.id}${isNew ? '' : ', in force before'}, ${at}`
}

function toRows({ instances }: Revocation): string {
  if (instances.length === 0) return 'no instance is running'
  return toTable(
    ['INSTANCE', 'HOST', 'PID', 'WORKER', 'HOW', 'AFTER'],
    instances.map(({ id, host, pid, worker, how, afterMs }) => [
      ...[id.slice(0, 8), host, String(pid), String(worker), how, toMs(afterMs)],
    ]),
  )
}

function toMs(ms: number): string {
  return `${ms.toFixed(0)} ms`
}
