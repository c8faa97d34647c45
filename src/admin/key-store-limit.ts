/** Limits status and restore calls to the key stores that the caller's roles cover. */
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
 * Number of events examined for a limited caller, who may see only some of them. The console
 * requests the status every two seconds.
 */
const EXAMINED_EVENTS = 500

/**
 * Returns the status with the items and the newest events that the caller may see.
 * @param count maximum number of events to return
 * @param limit maximum number of items in each list
 */
export async function loadNarrowStatus(
  killSwitch: Pick<KillSwitch, 'status'>,
  principal: AdminPrincipal,
  { count, limit }: { readonly count: number; readonly limit: number },
): Promise<ControlStatus> {
  const covers = coverageOf(principal)
  if (covers === undefined) return killSwitch.status(count, { limit })
  return killSwitch.status(count, {
    ...{ limit, covers },
    isVisible: ({ detail }) => isAboutOwn(detail, covers),
    examined: EXAMINED_EVENTS,
  })
}

/**
 * Returns a function that reports whether the caller may read about a key store, or undefined if the
 * caller may read about all of them.
 */
export function coverageOf(principal: AdminPrincipal): ((keyStore: string) => boolean) | undefined {
  if (isPermitted(principal, 'read')) return undefined
  return (keyStore) => isPermitted(principal, 'read', keyStore)
}

/**
 * Reports whether an event is about one of the caller's key stores or about all key stores. Events
 * without a key store, such as operator changes, are visible only to unlimited callers.
 */
function isAboutOwn(
  { keyStore, scope }: ControlStatus['events'][number]['detail'],
  isOwn: (keyStore: string) => boolean,
): boolean {
  if (typeof keyStore === 'string') return isOwn(keyStore)
  if (typeof scope !== 'string') return false
  // The pattern matches the text of describeScope. It does not match criteria, which may name
  // callers of other key stores.
  const [, named] = /^(?:key store |key )([a-z0-9-]+)(?:\/[A-Za-z0-9._-]+)?$/.exec(scope) ?? []
  return scope === 'all' || (named !== undefined && isOwn(named))
}

/** @throws AdminError FORBIDDEN */
export async function checkRestoreTarget(
  killSwitch: KillSwitch,
  principal: AdminPrincipal,
  target: RestoreOrder['target'],
): Promise<void> {
  // If the caller is unlimited, there is no need to look up the switches.
  if (isPermitted(principal, 'restore')) return
  if ('scope' in target) {
    checkPermitted(principal, 'restore', keyStoreOf(target.scope))
    return
  }
  const { switches } = await killSwitch.status(0)
  checkSwitches(principal, 'restore', switches, [target.id])
}

/**
 * Refuses an action on a restore request that concerns other key stores. Ignores an id that does
 * not exist.
 * @throws AdminError FORBIDDEN
 */
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
