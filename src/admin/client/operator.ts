/**
 * Runs the operator's commands through the admin listener. Implements the kill switch's interface.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { Scope } from '../../core/scope.ts'
import type { DeadManOrder, DeadManOutcome } from '../../killswitch/operator/dead-man-switch.ts'
import type { ExposureReport } from '../../killswitch/operator/exposure.ts'
import type { KillOrder } from '../../killswitch/operator/kill.ts'
import type { RestoreOrder, RestoreOutcome } from '../../killswitch/operator/restore.ts'
import type { Operator, StopOutcome } from '../../killswitch/operator/service.ts'
import type { ControlItems, ControlList } from '../../killswitch/operator/control-lists.ts'
import type { ControlStatus, StatusView } from '../../killswitch/operator/status.ts'
import type { StopOptions } from '../../killswitch/operator/stop.ts'
import type { SignedReceipt } from '../../killswitch/receipt/receipt.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { Switch } from '../../killswitch/model.ts'
import type { AdminApi } from './api.ts'
import { AdminCallError } from './http.ts'
import { loadPages } from './pages.ts'

type Schemas = components['schemas']

const ROOT = '/admin/v1'
/** Margin added to the listener's own timeout. */
const MARGIN_MS = 10_000
/**
 * Client-side timeout, longer than the listener's default timeout of 30 s plus the lease, which is
 * at most a minute.
 */
const STOP_TIMEOUT_MS = 120_000
const DRILL_TIMEOUT_MS = 300_000
const RETRY_PAUSE_MS = 500
const MOST_EVENTS = 999_999
/** Maximum number of items in each list of a status. */
const MOST_ITEMS = 1000

/**
 * The listener records its caller as the operator, regardless of the name in the order.
 * @param findSwitches selects the switches that a restore would lift
 */
export function createRemoteOperator(
  api: AdminApi,
  findSwitches: (switches: readonly Switch[], target: RestoreOrder['target']) => readonly Switch[],
): Operator {
  let warnings: readonly string[] = []

  async function status(
    recentEvents: number,
    { limit = Infinity }: StatusView = {},
  ): Promise<ControlStatus> {
    const events = Math.min(recentEvents, MOST_EVENTS)
    const query = { events, limit: Math.min(limit, MOST_ITEMS) }
    const { storeWarnings = [], ...rest } = await api.get(`${ROOT}/status`, { query })
    warnings = storeWarnings
    const found = rest as unknown as ControlStatus
    return limit === Infinity ? addRest(api, found) : found
  }

  async function changeDeadMan(
    action: Schemas['AdminDeadmanRequest']['action'],
    {
      keyStore = '',
      reason = '',
      mayRestore,
      ttlMs,
    }: Partial<DeadManOrder> & {
      readonly ttlMs?: number
    },
  ): Promise<DeadManOutcome> {
    const body = {
      ...{ action, reason },
      ...(mayRestore === undefined ? {} : { mayRestore }),
      ...(ttlMs === undefined ? {} : { ttlMs }),
    }
    const answer = await api.post(`${ROOT}/deadman/{keyStore}`, body, { path: { keyStore } })
    return answer as unknown as DeadManOutcome
  }

  return {
    stop: (order, options) => stop(api, order, options),
    async restore({ target, reason }) {
      const body = 'id' in target ? { switch: target.id, reason } : { ...target, reason }
      return (await api.post(`${ROOT}/restorations`, body)) as unknown as RestoreOutcome
    },
    previewRestore: async (target) => findSwitches((await status(0)).switches, target),
    async approve({ id }) {
      const options = { path: { id } }
      const answer = await api.post(`${ROOT}/restorations/{id}/approve`, {}, options)
      return answer as unknown as RestoreOutcome
    },
    async withdraw({ id, reason }) {
      await api.post(`${ROOT}/restorations/{id}/withdraw`, { reason }, { path: { id } })
    },
    status,
    // The listener includes the warnings in the status response.
    storeWarnings: () => Promise.resolve(warnings),
    async rehearse(order, window) {
      const answer = await api.post(`${ROOT}/rehearsals`, { ...order, ...window })
      return answer
    },
    async exposure(about, window = {}) {
      const answer = await api.get(`${ROOT}/exposure`, { query: toQuery(about, window) })
      return answer as unknown as ExposureReport
    },
    async receipts() {
      const { receipts } = await api.get(`${ROOT}/receipts`)
      return receipts as unknown as readonly SignedReceipt[]
    },
    async findReceipt(id) {
      const found = await api.get(`${ROOT}/receipts/{id}`, { path: { id } })
      return found as unknown as SignedReceipt
    },
    publicKey: async () => (await api.get(`${ROOT}/receipt-key`)).publicKey,
    async drill({ keyStore }) {
      const body = keyStore === undefined ? {} : { keyStore }
      return await api.post(`${ROOT}/drills`, body, { timeoutMs: DRILL_TIMEOUT_MS })
    },
    startDeadMan: (order) => changeDeadMan('start', order),
    renewDeadMan: (order) => changeDeadMan('renew', order),
    closeDeadMan: (order) => changeDeadMan('close', order),
    endDeadMan: (order) => changeDeadMan('end', order),
    close() {
      api.close()
      return Promise.resolve()
    },
  }
}

/** Returns the status with all items of its lists, in the order of their keys. */
async function addRest(api: AdminApi, found: ControlStatus): Promise<ControlStatus> {
  // A listener of an earlier release returns all items and no counts.
  const { counts } = found as Partial<ControlStatus>
  if (counts === undefined) return found
  const { switches, deadManSwitches, requests } = found
  const rest = async <Item>(
    shown: readonly Item[],
    total: number,
    load: () => Promise<readonly unknown[]>,
  ) => (shown.length < total ? ((await load()) as readonly Item[]) : shown)
  return {
    ...found,
    switches: inOrder(
      await rest(switches, counts.switches.total, async () =>
        (await loadPages((query) => api.get(`${ROOT}/switches`, { query }))).flatMap(
          (page) => page.switches,
        ),
      ),
    ),
    deadManSwitches: inOrder(
      await rest(deadManSwitches, counts.deadManSwitches, async () =>
        (await loadPages((query) => api.get(`${ROOT}/deadman`, { query }))).flatMap(
          (page) => page.deadManSwitches,
        ),
      ),
    ),
    requests: inOrder(
      await rest(requests, counts.requests, async () =>
        (await loadPages((query) => api.get(`${ROOT}/restorations`, { query }))).flatMap(
          (page) => page.requests,
        ),
      ),
    ),
  }
}

function inOrder<Item extends ControlItems[ControlList]>(items: readonly Item[]): readonly Item[] {
  const keyOf = (item: ControlItems[ControlList]) => ('id' in item ? item.id : item.keyStore)
  return [...items].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
}

/**
 * Retries a call that got no connection or no response. Repeating a kill does not create a second
 * switch.
 */
async function stop(
  api: AdminApi,
  { scope, direction, reason, until }: KillOrder,
  options: StopOptions,
): Promise<StopOutcome> {
  const { wait, patienceMs = STOP_TIMEOUT_MS, onRetry } = options
  const endsAt = clock.monotonic() + patienceMs
  for (;;) {
    const leftMs = Math.max(1, Math.ceil(endsAt - clock.monotonic()))
    const body = {
      ...{ scope, direction, reason, wait, timeoutMs: leftMs },
      ...(until === undefined ? {} : { until }),
    }
    try {
      const answer = await api.post(`${ROOT}/switches`, body, { timeoutMs: leftMs + MARGIN_MS })
      return finish(answer, options)
    } catch (error) {
      const isOver = clock.monotonic() + RETRY_PAUSE_MS >= endsAt
      if (!(error instanceof AdminCallError) || error.code !== 'ADMIN_UNREACHABLE' || isOver) {
        throw error
      }
      onRetry?.(error)
      await pause(RETRY_PAUSE_MS)
    }
  }
}

function finish(answer: Schemas['AdminStopResponse'], options: StopOptions): StopOutcome {
  const { isNew, epoch, warning, elapsedMs, instances, receipt } = answer
  if (warning !== undefined) options.onWarning?.(warning)
  const revocation =
    elapsedMs === undefined || instances === undefined
      ? undefined
      : { elapsedMs, instances, epoch, isComplete: answer.state === 'revoked' }
  if (revocation !== undefined) options.onRevoked?.(revocation)
  return {
    kill: { isNew, epoch, switch: answer.switch as Switch | undefined },
    ...(warning === undefined ? {} : { warning }),
    ...(revocation === undefined ? {} : { revocation }),
    ...(receipt === undefined ? {} : { receipt: receipt as unknown as SignedReceipt }),
  }
}

function toQuery(
  about: Scope | { readonly id: string } | undefined,
  { since, probes }: { readonly since?: number | undefined; readonly probes?: boolean },
) {
  return {
    ...(about !== undefined && 'id' in about && { switch: about.id }),
    ...(about !== undefined && 'keyStore' in about && { keyStore: about.keyStore }),
    ...(about !== undefined && 'keyId' in about && { keyId: about.keyId }),
    ...(since === undefined ? {} : { since }),
    ...(probes === true && { probes }),
  }
}
