/** Implements `latchkey kill`. */
// SPDX-License-Identifier: Apache-2.0
import { AdminRefusal } from '../../admin/client/http.ts'
import { ConfigError } from '../../config/faults.ts'
import { systemClock } from '../../core/clock.ts'
import { LatchkeyError } from '../../core/errors.ts'
import { describeScope } from '../../core/scope.ts'
import { ControlError } from '../../killswitch/model.ts'
import type { KillOrder } from '../../killswitch/operator/kill.ts'
import type { StopOutcome } from '../../killswitch/operator/service.ts'
import type { Revocation } from '../../killswitch/operator/waiting-fleet.ts'
import { defaultPatienceMs } from '../../killswitch/operator/stop.ts'
import { StorageError } from '../../store/database.ts'
import {
  type Command,
  CONFIG_FLAG,
  type Context,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import {
  DIRECTION_FLAG,
  parseDirection,
  parseReason,
  parseScope,
  REASON_FLAGS,
  SCOPE_FLAGS,
} from '../../terminal/flags/scope.ts'
import { durationFlag, parseFuture } from '../../terminal/flags/time.ts'
import type { Output } from '../../terminal/output.ts'
import { type Place, findPlace, openForKill } from '../operator.ts'
import { checkNoRehearsal, REHEARSAL_FLAGS, rehearseKill } from './rehearse.ts'

export const kill: Command = {
  flags: {
    ...SCOPE_FLAGS,
    ...DIRECTION_FLAG,
    ...REASON_FLAGS,
    until: {
      type: 'string',
      value: 'WHEN',
      description:
        'Lift the switch automatically after a duration such as 12h or 90d, or on a date such as 2027-01-31.',
    },
    wait: { type: 'boolean', description: 'Wait until every instance refuses (the default).' },
    'no-wait': {
      type: 'boolean',
      description: 'Return once the switch is committed, without waiting for the instances.',
    },
    timeout: {
      type: 'string',
      value: 'TIME',
      description:
        'How long to retry writing the switch and to wait for the instances (default: 30s plus the lease).',
    },
    ...REHEARSAL_FLAGS,
    ...CONTEXT_FLAG,
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
      throw new UsageError('USAGE', '--wait and --no-wait cannot be combined')
    }
    const place = await findPlace(context).catch((error: unknown) => {
      throw withWayToStop(error, undefined)
    })
    if (context.flags['rehearse'] === true) {
      const scope = parseScope(context, place)
      return rehearseKill(context, { scope, direction: parseDirection(context) ?? 'both' })
    }
    checkNoRehearsal(context)
    const until = stringFlag(context, 'until')
    const order: KillOrder = {
      scope: parseScope(context, place),
      direction: parseDirection(context) ?? 'both',
      ...parseReason(context),
      ...(until === undefined ? {} : { until: parseFuture(until) }),
    }
    const { leaseMs, sentinelFile } = toControl(place)
    const patienceMs = durationFlag(context, 'timeout', defaultPatienceMs(leaseMs))
    const startedAt = systemClock.monotonic()
    const onRetry = createRetryNote(context)
    const killSwitch = await openForKill(context, place, { patienceMs, onRetry }).catch(
      (error: unknown) => {
        throw withWayToStop(error, sentinelFile)
      },
    )
    try {
      const name = describeScope(order.scope)
      let written: StopOutcome['kill'] | undefined
      const where = () => (written === undefined ? name : `${name} (${describe(written)})`)
      const stopping = killSwitch.stop(order, {
        wait: noWait !== true,
        patienceMs: Math.max(1, startedAt + patienceMs - systemClock.monotonic()),
        onRetry,
        onWarning: (warning) => {
          context.output.note(`warning: ${warning}`)
        },
        onWritten: (kill) => {
          written = kill
          if (noWait === true) return
          context.output.note(`written: ${where()}; waiting for the instances`)
        },
        // Print the revocation before any further query to the store, which may no longer respond.
        onRevoked: (revocation) => {
          const after = `revoked ${where()} after ${toMs(revocation.elapsedMs)}`
          context.output.line(`${after}\n${toRows(revocation, context.output)}`)
        },
      })
      const done = await stopping.catch((error: unknown) => {
        throw withWayToStop(error, sentinelFile)
      })
      context.output.result(toText(name, done), { ...toJson(order, done) })
    } finally {
      await killSwitch.close()
    }
  },
}

/**
 * Longest lease that a configuration allows. Assumed for an admin listener, which does not report
 * its lease.
 */
const LONGEST_LEASE_MS = 60_000

function toControl(place: Place): { readonly leaseMs: number; readonly sentinelFile?: string } {
  return place.kind === 'store' ? place.config.control : { leaseMs: LONGEST_LEASE_MS }
}

/** Prints the note once: the operator needs it immediately, but not after every attempt. */
function createRetryNote({ output }: Context): (error: LatchkeyError) => void {
  let isSaid = false
  return ({ code, message, hint = '' }) => {
    if (isSaid) return
    isSaid = true
    output.note(`the kill is not written yet (${code}): ${message}; retrying. Meanwhile: ${hint}`)
  }
}

function toText(name: string, { kill: written, revocation, receipt }: StopOutcome): string {
  if (revocation === undefined) {
    return `written: ${name} (${describe(written)}); did not wait for the instances`
  }
  return receipt === undefined
    ? 'could not write a receipt; run the same command again to get one'
    : `receipt: latchkey receipt show ${receipt.statement.id}`
}

function toJson(order: KillOrder, { kill: written, revocation, receipt, warning }: StopOutcome) {
  return {
    ...{ scope: order.scope, direction: order.direction, switch: written.switch },
    state: revocation === undefined ? 'written' : 'revoked',
    isNew: written.isNew,
    epoch: written.epoch,
    ...revocation,
    ...(warning === undefined ? {} : { warning }),
    ...(receipt === undefined ? {} : { receipt }),
  }
}

function describe({ switch: made, isNew, epoch }: StopOutcome['kill']): string {
  const at = `epoch ${String(epoch)}`
  if (made === undefined) {
    return `${at}; the store was changed outside of Latchkey, so all requests are refused`
  }
  return `switch ${made.id}${isNew ? '' : ', already in force'}, ${at}`
}

function toRows({ instances }: Revocation, output: Output): string {
  if (instances.length === 0) return 'no instance is running'
  return output.table(
    ['INSTANCE', 'HOST', 'PID', 'WORKER', 'HOW', 'AFTER'],
    instances.map(({ id, host, pid, worker, how, afterMs }) => [
      ...[id.slice(0, 8), host, String(pid), String(worker), how, toMs(afterMs)],
    ]),
  )
}

function toMs(ms: number): string {
  return `${ms.toFixed(0)} ms`
}

/** @param sentinelFile undefined if it is not configured */
function withWayToStop(error: unknown, sentinelFile: string | undefined): unknown {
  if (!(error instanceof Error) || error instanceof UsageError) return error
  // The switch is written, and this error says what delays its confirmation.
  if (error instanceof ControlError) return error
  // The listener responded, and its store did too.
  if (error instanceof AdminRefusal && !/^(STORE_|UNAVAILABLE$)/.test(error.code)) return error
  if (error instanceof TypeError || error instanceof RangeError) return error
  const touch = sentinelFile === undefined ? '' : `touch ${sentinelFile} there or `
  const message = `the kill is not confirmed; to stop a host now, ${touch}send SIGUSR2 to its latchkey process (${error.message})`
  const { code } = error as { readonly code?: unknown }
  const hint = error instanceof LatchkeyError ? error.hint : undefined
  const options = { cause: error, hint: hint ?? 'then run the same command again' }
  if (error instanceof StorageError) return new StorageError(error.code, message, options)
  if (error instanceof ConfigError) return new LatchkeyError(error.code, message, options)
  return typeof code === 'string' ? new LatchkeyError(code, message, options) : error
}
