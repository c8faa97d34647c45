/**
 * Connects the admin listener to the kill switch and the metrics. Runs once per `latchkey serve`.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { auditRoutes } from '../admin/routes/audit.ts'
import { consoleRoutes } from '../admin/routes/console.ts'
import { keyRoutes } from '../admin/routes/keys.ts'
import { operatorRoutes } from '../admin/routes/operators.ts'
import { policyRoutes } from '../admin/routes/policies.ts'
import { retirementRoutes } from '../admin/routes/retirements.ts'
import { reportRoutes } from '../admin/routes/reports.ts'
import { aboutRoutes, loginRoutes, serviceRoutes } from '../admin/routes/service.ts'
import { statusRoutes } from '../admin/routes/status.ts'
import { switchRoutes } from '../admin/routes/switches.ts'
import { type AdminEvent, createAdminServer } from '../admin/server.ts'
import { readLatest } from '../audit/reader/latest.ts'
import { readLogFile } from '../audit/reader/log-file.ts'
import type { AdminConfig, Config, OidcConfig } from '../config/config.ts'
import { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { createKillSwitch } from '../killswitch/operator/service.ts'
import type { Log } from '../observability/log.ts'
import { type CallerTable, createCallerTable } from '../admin/operators/caller-table.ts'
import { createDirectory } from '../admin/operators/directory.ts'
import { checkDocuments } from '../policy/policy-set.ts'
import { createApiSchemas } from '../openapi/schemas.ts'
import { type Address, listen } from '../server/listen.ts'
import type { TlsFiles, TlsMaterial } from '../server/tls/material.ts'
import { createCertificateReload, loadForReload } from '../server/tls/reload.ts'
import { type Store, openStore } from '../store/store.ts'
import { createRetirements } from '../retirement/service.ts'
import { createAdministration } from './administration.ts'
import { toAdminError } from './admin-errors.ts'
import { openHostReader } from './audit-logs.ts'
import { createPolicies } from './policy.ts'
import { RETIREMENT_OPERATOR } from './retirement.ts'
import { toStoreOptions } from './store.ts'
import { createTokenAdministrations } from './token-administrations.ts'

export interface AdminDeps {
  /** Reports whether this process and its workers serve KMS. */
  readonly isReady: () => boolean | Promise<boolean>
  /** Returns the metrics in Prometheus's text format. Absent if there is no /metrics. */
  readonly metrics?: () => Promise<string>
  readonly log: Pick<Log, 'logger'>
  /** The store of the server in this process, or what the workers have found in theirs. */
  readonly served: Pick<Store, 'fault'>
}

/** Limits for the console's audit page. */
const LATEST_AUDIT = { logs: 20, entries: 100 }

export interface RunningAdmin {
  readonly address: Address
  /**
   * Rereads the certificate files now.
   * @throws TlsError, in which case the old certificates stay in use
   */
  reloadCertificates(): Promise<void>
  /** Applies new tokens, certificate subjects and key store names. */
  setCallers(config: Config): void
  stop(): Promise<void>
}

/**
 * Starts the configured admin listener. Returns undefined if there is none.
 * @throws StorageError, TlsError or a system error
 */
export async function startAdminOf(
  config: Config,
  deps: AdminDeps,
): Promise<RunningAdmin | undefined> {
  const { admin } = config
  if (admin === undefined) return undefined
  const files = toTlsFiles(admin)
  const loaded = files && (await loadForReload(files, clock.now()))
  const tls = loaded?.material.context
  // Open a separate store handle, so that operators do not wait behind requests. Its connection is
  // always open, so that a kill can be written even when the server has no free connection.
  const open = async (connections: 'kept' | 'one') =>
    openStore(await toStoreOptions(config, { connections }))
  const store = await open('kept')
  const killSwitch = createKillSwitch(store, config, () => open('one'))
  const callers = createCallerTable(store, clock)
  // Calls for keys, credentials and policies share another handle, opened on first use, so that a
  // kill does not wait behind such calls.
  let opened: Promise<Store> | undefined
  const shared = () =>
    (opened ??= open('one').catch((error: unknown) => {
      opened = undefined
      throw error
    }))
  const tokens = createTokenAdministrations(deps.log.logger)
  const schemas = createApiSchemas()
  let current = config
  const keyStores = () => current.keyStores.map(({ name }) => name)
  const readAudit = async () => {
    const { mode, folder } = config.audit
    const latest = await readLatest(folder, await killSwitch.publicKey(), LATEST_AUDIT)
    return { mode, logs: [...latest.logs], entries: [...latest.entries] }
  }
  const cleanup = new Cleanup()
  cleanup.add(() => killSwitch.close())
  cleanup.add(async () => (await opened?.catch(() => undefined))?.close())
  cleanup.add(tokens.close)
  cleanup.add(callers.flush)
  try {
    const codeFlow = await openCodeFlow(admin)
    const { app, setTls, setCallers } = await createAdminServer({
      config: admin,
      ...(tls === undefined ? {} : { tls }),
      schemas,
      clock,
      routes: [
        ...serviceRoutes({
          isReady: async () => deps.isReady(),
          ...(deps.metrics === undefined ? {} : { metrics: deps.metrics }),
        }),
        ...statusRoutes(killSwitch),
        ...switchRoutes({ killSwitch, keyStores, now: clock.now }),
        ...consoleRoutes(admin.oidc !== undefined),
        ...auditRoutes({
          readAudit,
          reader: openHostReader(config.audit.folder, store, killSwitch.publicKey),
          readLogFile: (log, path) => readLogFile(config.audit.folder, log, path),
        }),
        ...aboutRoutes({ keyStores: () => current.keyStores, version: schemas.version }),
        ...reportRoutes({ killSwitch, keyStores, now: clock.now }),
        ...keyRoutes({
          keyStores,
          checkStore() {
            // The handle of the listener runs no audits, so it does not know what they noticed.
            const { fault } = deps.served
            if (fault !== undefined) throw fault
          },
          withAdministration: (operator, work) =>
            shared().then((open) =>
              work(createAdministration({ config: current, store: open, operator, tokens })),
            ),
        }),
        ...retirementRoutes({
          keyStores,
          async withRetirements(keyStore, work) {
            const open = await shared()
            const place = { config: current, store: open, operator: RETIREMENT_OPERATOR, tokens }
            const keys = createAdministration(place).keys(keyStore)
            return work(createRetirements({ store: open, clock, keys }))
          },
        }),
        ...loginRoutes({ login: () => toLogin(admin), codeFlow }),
        ...operatorRoutes({
          directory: createDirectory(store, clock),
          needsTwoPeople: () => current.control.restore.people === 2,
          keyStores,
        }),
        ...policyRoutes({
          ...{ checkDocuments, now: clock.now },
          withPolicies: (work) => using(async () => createPolicies(current, await shared()), work),
        }),
      ],
      toAdminError,
      callers: {
        findByToken: callers.findByToken,
        ...(admin.oidc && { verifyIdToken: await openVerifier(admin.oidc, callers) }),
      },
      onEvent: (event) => {
        logEvent(deps, event)
      },
      onRefused: (reason, remoteAddress) => {
        const listener = 'admin'
        deps.log.logger.info('connection refused', { reason, remoteAddress, listener })
      },
    })
    cleanup.add(() => app.close())
    cleanup.add(() => closeServer(app.server))
    const certificates =
      files &&
      loaded &&
      createCertificateReload({
        ...{ config: files, fingerprint: loaded.fingerprint, now: clock.now },
        apply: ({ context }) => {
          setTls(context)
        },
        ...logReloads(deps.log.logger, 'admin'),
      })
    certificates?.start()
    cleanup.add(() => certificates?.stop())
    const address = await listen(app.server, admin)
    deps.log.logger.info('admin listener', { ...address, tls: tls !== undefined })
    return {
      address,
      reloadCertificates: certificates?.reload ?? (() => Promise.resolve()),
      setCallers(next) {
        current = next
        tokens.setPins(next.backends)
        if (next.admin !== undefined) setCallers(next.admin)
      },
      stop: () => cleanup.run(),
    }
  } catch (error) {
    await cleanup.run().catch(() => undefined)
    throw error
  }
}

/** Fastify closes only the servers that it opened itself. */
function closeServer(server: { close(done: () => void): void; closeAllConnections(): void }) {
  return new Promise<void>((resolve) => {
    server.close(() => {
      resolve()
    })
    server.closeAllConnections()
  })
}

async function openVerifier(oidc: OidcConfig, { findByName }: CallerTable) {
  // Load this module only here, because most listeners have no identity provider.
  const { createIdTokenVerifier } = await import('../admin/oidc/verify.ts')
  return createIdTokenVerifier(oidc, await readIssuerCa(oidc), findByName)
}

async function openCodeFlow(admin: AdminConfig) {
  const login = toLogin(admin)
  if (login === undefined) return undefined
  const { createCodeFlow } = await import('../admin/oidc/code-flow.ts')
  return createCodeFlow(login, await readIssuerCa(admin.oidc), clock)
}

async function readIssuerCa(oidc: OidcConfig | undefined): Promise<string | undefined> {
  return oidc?.caFile === undefined ? undefined : readFile(oidc.caFile, 'utf8')
}

function toLogin({ oidc }: AdminConfig) {
  if (oidc === undefined) return undefined
  const { issuer, scope, audience, clientId = audience } = oidc
  return { issuer, clientId, scope }
}

/** Opens what a call needs, and closes it even if `work` throws. */
async function using<Part extends { close(): Promise<void> }, T>(
  open: () => Promise<Part>,
  work: (part: Part) => Promise<T>,
): Promise<T> {
  const part = await open()
  try {
    return await work(part)
  } finally {
    await part.close()
  }
}

/** Returns the certificate files of the admin listener; undefined for plain HTTP. */
export function toTlsFiles({ tls, clientCertificates }: AdminConfig): TlsFiles | undefined {
  if (tls === undefined) return undefined
  return { tls, ...(clientCertificates && { clientCertificate: clientCertificates }) }
}

/** Logs the outcome of certificate reloads. */
export function logReloads(logger: Logger, listener: 'xks' | 'admin') {
  return {
    onReloaded: (material: TlsMaterial) => {
      logger.info('certificate reloaded', { listener, ...describeCertificate(material) })
    },
    onFailed: (err: unknown) => {
      logger.error('certificate not reloaded; keeping the current one', { listener, err })
    },
  }
}

export function describeCertificate({ certificate: { subject, validTo } }: TlsMaterial) {
  return { certificate: { subject, validTo: new Date(validTo).toISOString() } }
}

function logEvent(deps: AdminDeps, { fault, ...event }: AdminEvent): void {
  const { logger } = deps.log
  if (fault === undefined) logger.info('admin request', event)
  else logger.error('admin request', { ...event, err: fault })
}
