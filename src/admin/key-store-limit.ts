/** Limits status and restores to the key stores that the caller's roles cover. */
// SPDX-License-Identifier: Apache-2.0
import { checkPermitted, isPermitted, type AdminPrincipal, type Permission } from './principal.ts'
import type { Scope } from '../core/scope.ts'
import type { RestoreOrder } from '../killswitch/operator/restore.ts'
import type { KillSwitch } from '../killswitch/operator/service.ts'
import type { ControlStatus } from '../killswitch/operator/status.ts'
import { keyStoreOf } from './route.ts'

export function isWithin(principal: AdminPrincipal, permission: Permission, scope: Scope): boolean {
  return isPermitted(principal, permission, keyStoreOf(scope))
}

/**
 * Returns what concerns the caller's key stores, including switches for everything. Events may name
 * other key stores, so a limited caller sees none.
 */
export function narrowStatus(principal: AdminPrincipal, status: ControlStatus): ControlStatus {
  if (isPermitted(principal, 'read')) return status
  const isOwn = (keyStore: string | undefined) => isPermitted(principal, 'read', keyStore)
  const switches = status.switches.filter(({ scope }) => {
    const keyStore = keyStoreOf(scope)
    return keyStore === undefined || isOwn(keyStore)
  })
  return {
    ...status,
    switches,
    deadManSwitches: status.deadManSwitches.filter(({ keyStore }) => isOwn(keyStore)),
    requests: status.requests.filter(({ target }) =>
      target.kind === 'switches'
        ? target.switchIds.every((id) => switches.some((one) => one.id === id))
        : isOwn(target.keyStore),
    ),
    events: [],
  }
}

/** @throws AdminError FORBIDDEN */
export async function checkRestoreTarget(
  killSwitch: KillSwitch,
  principal: AdminPrincipal,
  target: RestoreOrder['target'],
): Promise<void> {
  // An unlimited caller needs no lookup of the switches.
  if (isPermitted(principal, 'restore')) return
  if ('scope' in target) {
    checkPermitted(principal, 'restore', keyStoreOf(target.scope))
    return
  }
  const { switches } = await killSwitch.status(0)
  checkSwitches(principal, 'restore', switches, [target.id])
}

/** Does nothing for a request that does not exist. @throws AdminError FORBIDDEN */
export async function checkRestoreRequest(
  killSwitch: KillSwitch,
  principal: AdminPrincipal,
  id: string,
  permission: Permission,
): Promise<void> {
  if (isPermitted(principal, permission)) return
  const { requests, switches } = await killSwitch.status(0)
  const request = requests.find((one) => one.id === id)
  if (request === undefined) return
  const { target } = request
  if (target.kind === 'switches') checkSwitches(principal, permission, switches, target.switchIds)
  else checkPermitted(principal, permission, target.keyStore)
}

function checkSwitches(
  principal: AdminPrincipal,
  permission: Permission,
  switches: ControlStatus['switches'],
  ids: readonly string[],
): void {
  for (const { id, scope } of switches) {
    if (ids.includes(id)) checkPermitted(principal, permission, keyStoreOf(scope))
  }
}
