/** The operator's commands through the admin listener, with the interface of the kill switch. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { Scope } from '../../core/scope.ts'
import type { Signed } from '../../core/signature.ts'
import type { DeadManOrder, DeadManOutcome } from '../../killswitch/operator/dead-man-switch.ts'
import type { Drill } from '../../killswitch/operator/drill.ts'
import type { ExposureReport, RehearsalReport } from '../../killswitch/operator/exposure.ts'
import type { KillOrder } from '../../killswitch/operator/kill.ts'
import type { RestoreOrder, RestoreOutcome } from '../../killswitch/operator/restore.ts'
import type { Operator, StopOutcome } from '../../killswitch/operator/service.ts'
import type { ControlStatus } from '../../killswitch/operator/status.ts'
import type { StopOptions } from '../../killswitch/operator/stop.ts'
import type { Receipt } from '../../killswitch/receipt/receipt.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { Switch } from '../../killswitch/model.ts'
import { AdminCallError, type AdminHttp } from './http.ts'

type Schemas = components['schemas']

export type AdminAbout = Schemas['AdminAbout']

const ROOT = '/admin/v1'
/** Added to the time for which the listener itself waits. */
const MARGIN_MS = 10_000
/** The listener's own default is 30 s and the lease, which is at most a minute. */
const STOP_TIMEOUT_MS = 120_000
const DRILL_TIMEOUT_MS = 300_000
const RETRY_PAUSE_MS = 500
const MOST_EVENTS = 999_999

export async function loadAbout(http: AdminHttp): Promise<AdminAbout> {
  return (await http.get(`${ROOT}/about`)) as AdminAbout
}

/**
 * The listener records its caller as the operator, whatever an order says.
 * @param findSwitches selects the switches that a restore would lift
 */
export function createRemoteOperator(
  http: AdminHttp,
  findSwitches: (switches: readonly Switch[], target: RestoreOrder['target']) => readonly Switch[],
): Operator {
  let warnings: readonly string[] = []

  async function status(recentEvents: number): Promise<ControlStatus> {
    const events = Math.min(recentEvents, MOST_EVENTS)
    const found = (await http.get(`${ROOT}/status?events=${String(events)}`)) as ControlStatus & {
      readonly storeWarnings?: readonly string[]
    }
    const { storeWarnings = [], ...rest } = found
    warnings = storeWarnings
    return rest
  }

  async function changeDeadMan(
    action: Schemas['AdminDeadmanRequest']['action'],
    { keyStore, reason, mayRestore, ttlMs }: Partial<DeadManOrder> & { readonly ttlMs?: number },
  ): Promise<DeadManOutcome> {
    const body = { action, reason, mayRestore, ttlMs }
    return (await http.post(`${ROOT}/deadman/${keyStore ?? ''}`, body)) as DeadManOutcome
  }

  return {
    stop: (order, options) => stop(http, order, options),
    async restore({ target, reason }) {
      const body = 'id' in target ? { switch: target.id, reason } : { ...target, reason }
      return (await http.post(`${ROOT}/restorations`, body)) as RestoreOutcome
    },
    previewRestore: async (target) => findSwitches((await status(0)).switches, target),
    approve: async ({ id }) =>
      (await http.post(`${ROOT}/restorations/${encode(id)}/approve`, {})) as RestoreOutcome,
    async withdraw({ id, reason }) {
      await http.post(`${ROOT}/restorations/${encode(id)}/withdraw`, { reason })
    },
    status,
    // The status already includes the switches in force.
    storeWarnings: () => Promise.resolve(warnings),
    rehearse: async (order, window) =>
      (await http.post(`${ROOT}/rehearsals`, { ...order, ...window })) as RehearsalReport,
    exposure: async (about, window = {}) =>
      (await http.get(`${ROOT}/exposure?${toQuery(about, window)}`)) as ExposureReport,
    receipts: async () => {
      const { receipts } = (await http.get(`${ROOT}/receipts`)) as Schemas['AdminReceipts']
      return receipts as unknown as readonly Signed<Receipt>[]
    },
    findReceipt: async (id) =>
      (await http.get(`${ROOT}/receipts/${encode(id)}`)) as Signed<Receipt>,
    publicKey: async () =>
      ((await http.get(`${ROOT}/receipt-key`)) as Schemas['AdminReceiptKey']).publicKey,
    drill: async ({ keyStore }) =>
      (await http.post(`${ROOT}/drills`, { keyStore }, DRILL_TIMEOUT_MS)) as Drill,
    startDeadMan: (order) => changeDeadMan('start', order),
    renewDeadMan: (order) => changeDeadMan('renew', order),
    closeDeadMan: (order) => changeDeadMan('close', order),
    endDeadMan: (order) => changeDeadMan('end', order),
    close() {
      http.close()
      return Promise.resolve()
    },
  }
}

/** Repeats a call that got no connection or no answer. A repeated kill makes no second switch. */
async function stop(
  http: AdminHttp,
  { scope, direction, reason, until }: KillOrder,
  options: StopOptions,
): Promise<StopOutcome> {
  const { wait, patienceMs = STOP_TIMEOUT_MS, onRetry } = options
  const endsAt = clock.monotonic() + patienceMs
  for (;;) {
    const leftMs = Math.max(1, Math.ceil(endsAt - clock.monotonic()))
    const body = { scope, direction, reason, until, wait, timeoutMs: leftMs }
    try {
      const answer = await http.post(`${ROOT}/switches`, body, leftMs + MARGIN_MS)
      return finish(answer as Schemas['AdminStopResponse'], options)
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
    ...(receipt === undefined ? {} : { receipt: receipt as unknown as Signed<Receipt> }),
  }
}

function toQuery(
  about: Scope | { readonly id: string } | undefined,
  { since, probes }: { readonly since?: number | undefined; readonly probes?: boolean },
): string {
  const query = new URLSearchParams()
  if (about !== undefined && 'id' in about) query.set('switch', about.id)
  if (about !== undefined && 'keyStore' in about) query.set('keyStore', about.keyStore)
  if (about !== undefined && 'keyId' in about) query.set('keyId', about.keyId)
  if (since !== undefined) query.set('since', String(since))
  if (probes === true) query.set('probes', 'true')
  return query.toString()
}

const encode = encodeURIComponent
