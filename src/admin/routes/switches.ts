/** Stopping, restoring, dead man's switches, receipts, drills. */
// SPDX-License-Identifier: Apache-2.0
import type { Direction } from '../../killswitch/model.ts'
import type { RestoreOrder } from '../../killswitch/operator/restore.ts'
import type { components } from '../../openapi/types.gen.ts'
import { AdminError } from '../errors.ts'
import { ok, type AdminRoute } from '../route.ts'
import { toScope } from '../scope.ts'
import type { ControlServices, StopResult } from '../services.ts'

type Schemas = components['schemas']

export interface SwitchRoutesDeps {
  readonly control: ControlServices
  /** Of the configuration. */
  readonly keyStores: readonly string[]
  /** Wall time. */
  readonly now: () => number
}

export function switchRoutes(deps: SwitchRoutesDeps): readonly AdminRoute[] {
  return [...stopRoutes(deps), ...restoreRoutes(deps), ...deadmanRoutes(deps), ...readRoutes(deps)]
}

function stopRoutes({ control, keyStores, now }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/admin/v1/switches',
      permission: 'stop',
      body: 'AdminStopRequest',
      async handle({ body, principal }) {
        const { scope, direction, reason, until, wait } = body as Schemas['AdminStopRequest']
        if (until !== undefined && until <= now()) {
          throw new AdminError('INPUT_INVALID', 'until is over already')
        }
        const order = {
          scope: toScope(scope, keyStores),
          direction: direction ?? ('both' satisfies Direction),
          reason,
          operator: principal.name,
          ...(until === undefined ? {} : { until }),
        }
        return ok(toStopResponse(await control.stop(order, wait !== false)))
      },
    },
    {
      method: 'POST',
      path: '/admin/v1/drills',
      permission: 'drill',
      handle: async ({ principal }) => ok(await control.drill(principal.name)),
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

function restoreRoutes({ control, keyStores }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/admin/v1/restorations',
      permission: 'restore',
      body: 'AdminRestoreRequest',
      async handle({ body, principal }) {
        const raw = body as Schemas['AdminRestoreRequest']
        const order = {
          target: toTarget(raw, keyStores),
          reason: raw.reason,
          operator: principal.name,
        }
        return ok(await control.restore(order))
      },
    },
    {
      method: 'POST',
      path: '/admin/v1/restorations/:id/approve',
      permission: 'restore',
      handle: async ({ parameters, principal }) =>
        ok(await control.approve({ id: parameters['id'] ?? '', operator: principal.name })),
    },
    {
      method: 'POST',
      path: '/admin/v1/restorations/:id/withdraw',
      // Whoever may stop may also stop a restoration.
      permission: 'stop',
      body: 'AdminReason',
      async handle({ body, parameters, principal }) {
        const { reason } = body as Schemas['AdminReason']
        await control.withdraw({ id: parameters['id'] ?? '', operator: principal.name, reason })
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
    'expected either switch, or scope with or without direction',
  )
}

function deadmanRoutes({ control }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'POST',
      path: '/admin/v1/deadman/:keyStore',
      permission: 'deadman',
      body: 'AdminDeadmanRequest',
      async handle({ body, parameters, principal }) {
        const { action, reason } = body as Schemas['AdminDeadmanRequest']
        const act = { keyStore: parameters['keyStore'] ?? '', reason, operator: principal.name }
        return ok(
          await (action === 'renew' ? control.renewDeadMan(act) : control.closeDeadMan(act)),
        )
      },
    },
  ]
}

function readRoutes({ control }: SwitchRoutesDeps): readonly AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/admin/v1/status',
      permission: 'read',
      handle: async () => ok(await control.status()),
    },
    {
      method: 'GET',
      path: '/admin/v1/receipts',
      permission: 'read',
      handle: async () => ok({ receipts: await control.receipts() }),
    },
    {
      method: 'GET',
      path: '/admin/v1/receipts/:id',
      permission: 'read',
      async handle({ parameters }) {
        const receipt = await control.receipt(parameters['id'] ?? '')
        if (receipt === undefined) throw new AdminError('NOT_FOUND', 'there is no such receipt')
        return ok(receipt)
      },
    },
  ]
}
