/** Tests how many events are examined to build the status for a caller whose roles are limited to some key stores. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { loadNarrowStatus } from '../../../src/admin/key-store-limit.ts'
import type { AdminPrincipal } from '../../../src/admin/principal.ts'
import type { ControlStatus, StatusView } from '../../../src/killswitch/operator/status.ts'

const event = (detail: Readonly<Record<string, unknown>>) => ({
  ...{ seq: 1, at: 0, epoch: 1, kind: 'kill', operator: 'alice', detail },
})
const own = event({ scope: 'key store payroll' })
const other = event({ scope: 'key store archive' })

async function ask(keyStores: readonly string[] | undefined) {
  const asked: { count: number; view: StatusView | undefined }[] = []
  const status = (count: number, view?: StatusView): Promise<ControlStatus> => {
    asked.push({ count, view })
    const events = [own, other].filter((one) => view?.isVisible?.(one) !== false)
    const nothing = {
      switches: [],
      deadManSwitches: [],
      requests: [],
      longKills: [],
      instances: [],
    }
    const none = { total: 0, all: 0, 'key-store': 0, match: 0, key: 0 }
    return Promise.resolve({
      ...nothing,
      counts: { switches: none, deadManSwitches: 0, requests: 0, longKills: 0 },
      storeId: 's',
      epoch: 1,
      mark: { epoch: 1, tag: '' },
      events,
    })
  }
  const grant = keyStores === undefined ? {} : { keyStores }
  const principal: AdminPrincipal = {
    ...{ name: 'bob', person: 'bob', role: 'viewer', by: 'token' },
    grants: [{ role: 'viewer', ...grant }],
    isPersonal: true,
  }
  return { asked, found: await loadNarrowStatus({ status }, principal, { count: 5, limit: 7 }) }
}

void t.test('a limited caller gets own events among the newest 500', async (t) => {
  const { asked, found } = await ask(['payroll'])
  t.match(asked, [{ count: 5, view: { examined: 500, limit: 7 } }])
  t.same(found.events, [own])
})

void t.test('an unlimited caller gets every event', async (t) => {
  const { asked, found } = await ask(undefined)
  t.same(asked, [{ count: 5, view: { limit: 7 } }])
  t.same(found.events, [own, other])
})
