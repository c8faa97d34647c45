/** Routes for kills, restores, dead man's switches, receipts and drills. */
// SPDX-License-Identifier: Apache-2.0
import { checkPermitted, isPermitted, toActor } from '../principal.ts'
import { toRemark } from '../../core/remark.ts'
import type { Direction } from '../../core/scope.ts'
import type { DeadManOrder, DeadManOutcome } from '../../killswitch/operator/dead-man-switch.ts'
import type { RestoreOrder } from '../../killswitch/operator/restore.ts'
import type { KillSwitch } from '../../killswitch/operator/service.ts'
import type { StopResult } from '../../killswitch/operator/stop.ts'
import type { components } from '../../openapi/types.gen.ts'
import { AdminError } from '../errors.ts'
import { checkRestoreRequest, checkRestoreTarget, isWithin } from '../key-store-limit.ts'
import { type AdminRoute, keyStoreOf, ok, toScope } from '../route.ts'

type Schemas = components['schemas']

export interface SwitchRoutesDeps {
  readonly killSwitch: KillSwitch
  /** Names of the configured key stores. */
  readonly keyStores: () => readonly string[]
  /** Returns the wall time in milliseconds since the Unix epoch. */
  readonly now: () => number
}

const RECENT_RECEIPTS = 100
/** Limits the cost of a request, because the log can hold years of events with few receipts. */
const SEARCHED_EVENTS = 10_000

export function switchRoutes(deps: SwitchRoutesDeps): readonly AdminRoute[] {
  return [...stopRoutes(deps), ...restoreRoutes(deps), ...deadmanRoutes(deps), ...readRoutes(deps)]
}

function stopRoutes({ killSwitch, keyStores, now }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/admin/v1/switches',
      permission: 'stop',
      body: 'AdminStopRequest',
      async handle({ body, principal }) {
        const { scope, direction, reason, until, wait, timeoutMs } =
          body as Schemas['AdminStopRequest']
        if (until !== undefined && until <= now()) {
          throw new AdminError('INPUT_INVALID', 'until must be in the future')
        }
        const checked = toScope(scope, keyStores())
        checkPermitted(principal, 'stop', keyStoreOf(checked))
        const order = {
          scope: checked,
          direction: direction ?? ('both' satisfies Direction),
          reason: toRemark(reason),
          operator: principal.name,
          ...(until === undefined ? {} : { until }),
        }
        const options = {
          wait: wait !== false,
          ...(timeoutMs === undefined ? {} : { patienceMs: timeoutMs }),
        }
        return ok(toStopResponse(await killSwitch.stop(order, options)))
      },
    },
    {
      method: 'POST',
      path: '/admin/v1/drills',
      permission: 'drill',
      body: 'AdminDrillRequest',
      async handle({ body, principal }) {
        const { keyStore } = body as Schemas['AdminDrillRequest']
        if (keyStore !== undefined) toScope({ kind: 'key-store', keyStore }, keyStores())
        checkPermitted(principal, 'drill', keyStore ?? keyStores()[0])
        const order = { operator: principal.name, ...(keyStore === undefined ? {} : { keyStore }) }
        return ok(await killSwitch.drill(order))
      },
    },
  ]
}

function toStopResponse({
  kill,
  revocation,
  receipt,
  warning,
}: StopResult): Schemas['AdminStopResponse'] {
  return {
    state: revocation?.isComplete === true ? 'revoked' : 'written',
    isNew: kill.isNew,
    epoch: kill.epoch,
    ...(warning === undefined ? {} : { warning }),
    ...(kill.switch === undefined ? {} : { switch: kill.switch }),
    ...(revocation === undefined
      ? {}
      : { elapsedMs: revocation.elapsedMs, instances: [...revocation.instances] }),
    ...(receipt === undefined
      ? {}
      : { receipt: { ...receipt, statement: { ...receipt.statement } } }),
  }
}

function restoreRoutes({ killSwitch, keyStores }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/admin/v1/restorations',
      permission: 'restore',
      body: 'AdminRestoreRequest',
      async handle({ body, principal }) {
        const raw = body as Schemas['AdminRestoreRequest']
        const target = toTarget(raw, keyStores())
        await checkRestoreTarget(killSwitch, principal, target)
        const order = {
          target,
          reason: toRemark(raw.reason),
          ...toActor(principal),
        }
        return ok(await killSwitch.restore(order))
      },
    },
    {
      method: 'POST',
      path: '/admin/v1/restorations/:id/approve',
      permission: 'restore',
      async handle({ parameters, principal }) {
        const { id = '' } = parameters
        await checkRestoreRequest(killSwitch, principal, id, 'restore')
        return ok(await killSwitch.approve({ id, ...toActor(principal) }))
      },
    },
    {
      method: 'POST',
      path: '/admin/v1/restorations/:id/withdraw',
      // A caller who may stop access may also withdraw a restore.
      permission: 'stop',
      body: 'AdminReason',
      async handle({ body, parameters, principal }) {
        const { reason } = body as Schemas['AdminReason']
        const { id = '' } = parameters
        await checkRestoreRequest(killSwitch, principal, id, 'stop')
        await killSwitch.withdraw({
          id,
          operator: principal.name,
          reason: toRemark(reason),
        })
        return ok({ done: true })
      },
    },
  ]
}

function toTarget(
  raw: Schemas['AdminRestoreRequest'],
  keyStores: readonly string[],
): RestoreOrder['target'] {
  const { switch: id, scope, direction } = raw
  if (id !== undefined && scope === undefined && direction === undefined) return { id }
  if (id === undefined && scope !== undefined) {
    return {
      scope: toScope(scope, keyStores),
      ...(direction === undefined ? {} : { direction }),
    }
  }
  throw new AdminError(
    'INPUT_INVALID',
    'expected "switch", or "scope" with an optional "direction"',
  )
}

function deadmanRoutes({ killSwitch, keyStores }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/admin/v1/deadman/:keyStore',
      permission: 'deadman',
      body: 'AdminDeadmanRequest',
      async handle({ body, parameters, principal }) {
        const raw = body as Schemas['AdminDeadmanRequest']
        const keyStore = parameters['keyStore'] ?? ''
        checkPermitted(principal, 'deadman', keyStore)
        if (raw.action === 'start') toScope({ kind: 'key-store', keyStore }, keyStores())
        const order = {
          ...{ keyStore, reason: toRemark(raw.reason) },
          mayRestore: raw.mayRestore !== false && isPermitted(principal, 'restore', keyStore),
          ...toActor(principal),
        }
        return ok(await changeDeadMan(killSwitch, raw, order))
      },
    },
  ]
}

/** @throws AdminError, ControlError */
function changeDeadMan(
  killSwitch: KillSwitch,
  { action, ttlMs }: Schemas['AdminDeadmanRequest'],
  order: DeadManOrder,
): Promise<DeadManOutcome> {
  switch (action) {
    case 'start':
      if (ttlMs === undefined)
        throw new AdminError('INPUT_INVALID', '"start" requires the field "ttlMs"')
      return killSwitch.startDeadMan({ ...order, ttlMs })
    case 'renew':
      return killSwitch.renewDeadMan({ ...order, ...(ttlMs === undefined ? {} : { ttlMs }) })
    case 'close':
      return killSwitch.closeDeadMan(order)
    case 'end':
      return killSwitch.endDeadMan(order)
  }
}

function readRoutes({ killSwitch }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/admin/v1/receipt-key',
      permission: 'read',
      handle: async () => ok({ algorithm: 'Ed25519', publicKey: await killSwitch.publicKey() }),
    },
    {
      method: 'GET',
      path: '/admin/v1/receipts',
      permission: 'read',
      async handle({ principal }) {
        const receipts = await killSwitch.receipts({
          ...{ count: RECENT_RECEIPTS, examined: SEARCHED_EVENTS },
          isVisible: ({ statement }) => isWithin(principal, 'read', statement.scope),
        })
        return ok({ receipts })
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/receipts/:id',
      permission: 'read',
      async handle({ parameters, principal }) {
        const receipt = await killSwitch.findReceipt(parameters['id'] ?? '')
        checkPermitted(principal, 'read', keyStoreOf(receipt.statement.scope))
        return ok(receipt)
      },
    },
  ]
}
