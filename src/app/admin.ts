/** The admin listener, joined to the kill switch and the metrics: once for each `latchkey serve`. */
// SPDX-License-Identifier: Apache-2.0
import { AdminError } from '../admin/errors.ts'
import { reportRoutes } from '../admin/routes/reports.ts'
import { serviceRoutes } from '../admin/routes/service.ts'
import { switchRoutes } from '../admin/routes/switches.ts'
import { type AdminEvent, createAdminServer } from '../admin/server.ts'
import type { ControlServices, ReportServices } from '../admin/services.ts'
import type { AdminConfig, Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { ControlError } from '../killswitch/errors.ts'
import { type Control, createControl } from '../killswitch/operator/service.ts'
import type { Log } from '../observability/log.ts'
import { createApiSchemas } from '../openapi/schemas.ts'
import { type Address, listen } from '../server/listen.ts'
import { loadTlsMaterial } from '../server/tls/material.ts'
import { StorageError } from '../store/database.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'
import { type ActivityReader, openActivity } from './usage.ts'

export interface AdminDeps {
  /** Whether this process, with its workers, serves KMS. */
  readonly isReady: () => boolean | Promise<boolean>
  /** Prometheus's text form; absent: there is no /metrics. */
  readonly metrics?: () => Promise<string>
  readonly log: Pick<Log, 'logger'>
}

export interface RunningAdmin {
  readonly address: Address
  stop(): Promise<void>
}

const RECENT_EVENTS = 100
const RECENT_RECEIPTS = 100

/** The listener that the configuration asks for. Undefined where it has none. @throws StorageError, TlsError or a system error */
export async function startAdminOf(
  config: Config,
  deps: AdminDeps,
): Promise<RunningAdmin | undefined> {
  const { admin } = config
  if (admin === undefined) return undefined
  const tls = await loadTls(admin)
  // A handle of its own: what operators ask for does not wait behind what requests need. Its connection is
  // open all the time, so that a kill is written also when the server has no connection left.
  const options = await toStoreOptions(config, { connections: 'kept' })
  const control = createControl(await openStore(options), config)
  const reports = createReports(config)
  const keyStores = config.keyStores.map(({ name }) => name)
  try {
    const app = await createAdminServer({
      config: admin,
      ...(tls === undefined ? {} : { tls }),
      schemas: createApiSchemas(),
      routes: [
        ...serviceRoutes({
          isReady: async () => deps.isReady(),
          ...(deps.metrics === undefined ? {} : { metrics: deps.metrics }),
        }),
        ...switchRoutes({ control: toServices(control, config), keyStores, now: clock.now }),
        ...reportRoutes({ reports, keyStores, now: clock.now }),
      ],
      toAdminError,
      onEvent: (event) => {
        logEvent(deps, event)
      },
    })
    const address = await listen(app.server, admin)
    deps.log.logger.info('admin listener', { ...address, tls: tls !== undefined })
    return {
      address,
      async stop() {
        // Fastify closes only what it has opened itself.
        await new Promise((resolve) => {
          app.server.close(resolve)
          app.server.closeAllConnections()
        })
        await app.close()
        await reports.close()
        await control.close()
      },
    }
  } catch (error) {
    await control.close()
    throw error
  }
}

async function loadTls({ tls, clientCertificates }: AdminConfig) {
  if (tls === undefined) return undefined
  const files = {
    tls,
    ...(clientCertificates === undefined ? {} : { clientCertificate: clientCertificates }),
  }
  return (await loadTlsMaterial(files, clock.now())).context
}

function toServices(control: Control, config: Config): ControlServices {
  return {
    status: () => control.status(RECENT_EVENTS),
    async stop(order, wait) {
      const kill = await control.kill(order)
      const doubting = control.doubt(order.scope)
      const revocation = wait ? await control.wait(kill) : undefined
      // It is revoked, whether or not that can be written down.
      const receipt =
        revocation && (await control.receipt(order, kill, revocation).catch(() => undefined))
      const warning = await doubting
      return {
        kill,
        ...(revocation === undefined ? {} : { revocation }),
        ...(receipt === undefined ? {} : { receipt }),
        ...(warning === undefined ? {} : { warning }),
      }
    },
    restore: (order) => control.restore(order),
    approve: (by) => control.approve(by),
    withdraw: (by) => control.withdraw(by),
    renewDeadMan: (act) => control.renewDeadMan(act),
    closeDeadMan: (act) => control.closeDeadMan(act),
    receipts: async () => (await control.receipts()).slice(0, RECENT_RECEIPTS),
    receipt: async (id) => (await control.receipts()).find(({ statement }) => statement.id === id),
    async drill(operator) {
      const [first] = config.keyStores
      if (first === undefined) throw new AdminError('CONFLICT', 'there is no key store')
      return control.drill({ keyStore: first.name, operator })
    },
  }
}

/** Sentences of ours go out; of anything else, only that there is a fault. */
function toAdminError(error: unknown): AdminError {
  if (error instanceof ControlError) {
    const { code, message, hint } = error
    const name =
      code === 'NOTHING_KILLED' || code === 'NO_SUCH_REQUEST'
        ? 'NOT_FOUND'
        : code === 'NOT_REVOKED'
          ? 'UNAVAILABLE'
          : 'CONFLICT'
    return new AdminError(name, message, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    })
  }
  if (error instanceof StorageError) {
    return new AdminError('UNAVAILABLE', `the control store failed: ${error.code}`, {
      cause: error,
    })
  }
  return new AdminError('INTERNAL', 'a fault of Latchkey; the log has it', { cause: error })
}

function logEvent(deps: AdminDeps, { fault, ...event }: AdminEvent): void {
  const { logger } = deps.log
  if (fault === undefined) logger.info('admin request', event)
  else logger.error('admin request', { ...event, err: fault })
}

interface Reports extends ReportServices {
  close(): Promise<void>
}

/** The handle is opened with the first report, and kept. */
function createReports(config: Config): Reports {
  let opening: Promise<ActivityReader> | undefined

  function open(): Promise<ActivityReader> {
    opening ??= openActivity(config).catch((error: unknown) => {
      opening = undefined
      throw error
    })
    return opening
  }

  return {
    rehearse: async (order, window) => (await open()).rehearse(order, window),
    async exposure(about, asked) {
      const activity = await open()
      const until = clock.now()
      const since = asked ?? until - config.activity.retentionMs
      const { switches, longKills } = await activity.switches()
      const id = about !== undefined && 'id' in about ? about.id : undefined
      const found = switches.find((one) => one.id === id)
      if (id !== undefined && found === undefined) {
        throw new AdminError('NOT_FOUND', 'no such switch is in force')
      }
      const scope = about === undefined || 'id' in about ? found?.scope : about
      const exposures = await activity.exposure(scope, { since, until })
      return { scope: scope ?? { kind: 'all' }, since, until, exposures, longKills }
    },
    async close() {
      await (await opening?.catch(() => undefined))?.close()
    },
  }
}
