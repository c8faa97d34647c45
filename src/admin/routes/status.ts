/** Routes that show what is stopped: the status with the first items of each list, and pages of the lists. */
// SPDX-License-Identifier: Apache-2.0
import type { KillSwitch } from '../../killswitch/operator/service.ts'
import type { ControlItems, ControlList } from '../../killswitch/operator/control-lists.ts'
import { AdminError } from '../errors.ts'
import { coverageOf, loadNarrowStatus } from '../key-store-limit.ts'
import { okPage, PAGE_LIMITS, parsePage } from '../paging.ts'
import { type AdminRoute, okLists } from '../route.ts'

const RECENT_EVENTS = 100
/** The ids of switches and requests, and the names of key stores. */
const KEY = /^[A-Za-z0-9._-]{1,128}$/
const keyOf = (item: ControlItems[ControlList]) => ('id' in item ? item.id : item.keyStore)
const parseKey = (text: string) => (KEY.test(text) ? text : undefined)

export function statusRoutes(
  killSwitch: Pick<KillSwitch, 'status' | 'list' | 'storeWarnings'>,
): readonly AdminRoute[] {
  const pageRoute = (path: string, list: ControlList): AdminRoute => ({
    ...{ method: 'GET', path, permission: 'read' },
    async handle({ query, principal }) {
      const page = parsePage(query, list, parseKey)
      const covers = coverageOf(principal)
      const part = { after: page.after, limit: page.count, ...(covers && { covers }) }
      return okPage(list, page, await killSwitch.list(list, part), keyOf)
    },
  })
  return [
    {
      method: 'GET',
      path: '/admin/v1/status',
      permission: 'read',
      async handle({ query, principal }) {
        const count = parseCount(query, 'events', { otherwise: RECENT_EVENTS, most: 999_999 })
        const limit = parseCount(query, 'limit', {
          otherwise: PAGE_LIMITS.default,
          most: PAGE_LIMITS.max,
        })
        const found = await loadNarrowStatus(killSwitch, principal, { count, limit })
        // Reading the warnings needs a database privilege that may be missing, and the status must
        // not fail because of that.
        const storeWarnings = await killSwitch.storeWarnings(found.instances.length).catch(() => [])
        const { switches, deadManSwitches, requests, longKills, instances, events, ...rest } = found
        const lists = { switches, deadManSwitches, requests, longKills, instances, events }
        return okLists(lists, { ...rest, storeWarnings })
      },
    },
    pageRoute('/admin/v1/switches', 'switches'),
    pageRoute('/admin/v1/deadman', 'deadManSwitches'),
    pageRoute('/admin/v1/restorations', 'requests'),
  ]
}

/** @throws AdminError INPUT_INVALID */
function parseCount(
  query: URLSearchParams,
  name: string,
  { otherwise, most }: { readonly otherwise: number; readonly most: number },
): number {
  const text = query.get(name) ?? String(otherwise)
  const count = /^\d{1,6}$/.test(text) ? Number(text) : Infinity
  if (count <= most) return count
  throw new AdminError('INPUT_INVALID', `${name} must be a whole number up to ${String(most)}`)
}
