/**
 * Starts Latchkey from a configuration. This is the only place where components are created and
 * connected.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import type { Config } from '../config/config.ts'
import { Cleanup } from '../core/cleanup.ts'
import type { Logger } from '../core/logger.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { GateStats } from '../killswitch/gate/gate.ts'
import { type Log, createLog } from '../observability/log.ts'
import type { MetricsSnapshot } from '../observability/metrics/registry.ts'
import { createLateLog, createOverloadLog } from '../observability/request-log.ts'
import { VERSION } from '../openapi/document.gen.ts'
import { createApiSchemas } from '../openapi/schemas.ts'
import { drain } from '../server/drain.ts'
import { type Address, listen, startPingServer } from '../server/listen.ts'
import { createPing } from '../server/ping.ts'
import { createListener } from '../server/server.ts'
import { createCertificateReload, loadForReload } from '../server/tls/reload.ts'
import { createVerifier } from '../sigv4/verify.ts'
import type { StorageError } from '../store/database.ts'
import { createPipeline } from '../xks/pipeline.ts'
import { describeCertificate, logReloads, startAdminOf } from './admin.ts'
import { createServerAudit } from './audit.ts'
import { createControlledGate } from './gate.ts'
import { createServerPolicies } from './policy.ts'
import {
  createServerMetrics,
  serveMetrics,
  warnOfNode,
  watchAdminCertificate,
} from './observability.ts'
import { startKeyRotation } from './key-rotation.ts'
import { serveKeyStores } from './key-stores.ts'
import { createServerWebhooks } from './webhooks.ts'
import { recordRequests } from './request-recording.ts'
import { openResources, reloadResources, watchKeyUses } from './resources.ts'
import { createServerTripwire } from './tripwire.ts'
import { startUsage } from './usage.ts'

export interface RunningServer {
  readonly xks: Address
  readonly ping?: Address
  readonly admin?: Address
  /** Fields of the `listening` log line. */
  readonly facts: Readonly<Record<string, unknown>>
  /** Returns the metrics of this process in Prometheus's text format. */
  metrics(): Promise<string>
  /** Returns the same metrics as data, which a primary process combines. */
  metricsSnapshot(): Promise<MetricsSnapshot>
  /** Makes /ping return 200 from now on. A worker calls this only once all its siblings listen. */
  startServing(): void
  /** Reports whether /ping returns 200 now. */
  isReady(): boolean
  gateStats(): GateStats
  /** Handles SIGUSR2: refuses every request from now on, on the entire host. */
  block(): Promise<void>
  /** @throws TlsError, in which case the old certificate stays in use */
  reloadCertificates(): Promise<void>
  /**
   * Applies new key stores, callers of the admin listener, PINs of tokens, and the log level.
   * @returns names of key stores that need a restart
   */
  apply(config: Config): Promise<readonly string[]>
  readonly logger: Logger
  /** Drains the server, then closes all components. */
  stop(): Promise<void>
}

export interface ServerOptions {
  /** File that the log is appended to (default: standard output). */
  readonly logFile?: string
  /** Set if this process is a worker. `number` counts from 1; `group` is the id of the run. */
  readonly worker?: { readonly number: number; readonly group: string }
  /** Called with each new value of the store's `fault`, so that a worker can tell its primary. */
  readonly onFault?: (fault: StorageError | undefined) => void
}

/** Share of a request's deadline that the request may spend in a queue before it starts. */
const WAIT_SHARE = 0.4
/**
 * Bytes that a body may contain beyond the two Base64 fields at their maximum sizes: room for
 * requestMetadata and the names of the fields.
 */
const BODY_ROOM_BYTES = 32 * 1024

/** @throws ConfigError, StorageError, TlsError or a system error, with nothing left running */
export async function startServer(
  config: Config,
  options: ServerOptions = {},
): Promise<RunningServer> {
  const cleanup = new Cleanup()
  try {
    const instanceId = options.worker?.group ?? randomUUID()
    const source = { instanceId, version: VERSION, worker: options.worker?.number }
    const log = createLog(config.logging, options.logFile ?? 1, source)
    if (options.worker === undefined) warnOfNode(log.logger)
    const server = await start(config, { ...options, instanceId }, log, cleanup)
    if (options.worker === undefined) {
      server.startServing()
      const scrape = await serveMetrics(config, server.metrics, cleanup)
      log.logger.info('listening', { ...server.facts, ...scrape })
    }
    return server
  } catch (error) {
    await cleanup.run().catch(() => undefined)
    throw error
  }
}

async function start(
  config: Config,
  options: ServerOptions & { readonly instanceId: string },
  log: Log,
  cleanup: Cleanup,
): Promise<RunningServer> {
  const { logger } = log
  const { instanceId } = options
  cleanup.add(log.close)
  const schemas = createApiSchemas()
  const { material, fingerprint } = await loadForReload(config.listener, clock.now())
  const metrics = await createServerMetrics(
    config,
    { version: schemas.version, instanceId, logger },
    cleanup,
  )
  metrics.setMaterial(material)
  const logLate = createLateLog(logger)
  const logOverload = createOverloadLog(logger)
  const resources = await openResources(config, { ...options, schemas, log }, cleanup)
  const { store } = resources

  const audit = await createServerAudit(
    { config, store, logger, version: schemas.version, worker: options.worker?.number ?? 0 },
    cleanup,
  )
  const { authorizer, follower } = await createServerPolicies(config, store, logger, cleanup)
  let cutRevoked: () => Promise<void> = () => Promise.resolve()
  const webhooks = await createServerWebhooks({ ...options, config, store, logger }, cleanup)
  const control = await createControlledGate(
    {
      ...{ config, store, clock, version: schemas.version, worker: options.worker, instanceId },
      logger,
      follower,
      onChange() {
        webhooks.onChange()
        return reloadResources(resources)
      },
      cutRevoked: () => cutRevoked(),
    },
    cleanup,
  )
  const keyStores = await serveKeyStores(config.keyStores, {
    ...{ ...resources, log, fleet: control.fleet },
    healthIntervalMs: config.health.intervalMs,
  })
  cleanup.add(keyStores.stop)
  const usage = await startUsage({ config, store, logger, control }, cleanup)
  const rotation = startKeyRotation({ config, store, logger, control }, cleanup)
  await control.start()
  const tripwire = await createServerTripwire({ config, store, logger, control }, cleanup)
  webhooks.start(control.gate)
  const recording = recordRequests({ log, audit, usage, tripwire, metrics }, cleanup)

  const pipeline = createPipeline({
    clock,
    schemas,
    verifier: createVerifier({ clock, clockSkewMs: config.sigv4.clockSkewMs }),
    keyStores: keyStores.find,
    limits: config.limits,
    gate: control.gate,
    authorizer,
    identity: {
      version: schemas.version,
      fleetSize: () => config.health.fleetSize ?? control.fleet().groups,
    },
    audit: recording.audit,
    isThrottled: tripwire?.isThrottled,
    onFinish: recording.onFinish,
    onSentAfterLease: logLate,
  })
  const ping = createPing({
    schemas,
    health: () => keyStores.all().map((keyStore) => keyStore.health.current()),
    canServe: control.gate.canServe,
  })
  const isReady = () => ping.answer(false).status === 200
  const listener = await createListener({
    config: config.listener,
    material,
    schemas,
    pipeline,
    ping,
    clock,
    maxBodyBytes: toBodyLimit(config.limits),
    isUriPath: (uriPath) => keyStores.find(uriPath) !== undefined,
    maxWaitMs: {
      queued: config.limits.requestDeadlineMs * WAIT_SHARE,
      alone: config.limits.requestDeadlineMs,
    },
    onHandshake: metrics.onHandshake,
    onCertificate: metrics.onCertificate,
    onShed: (request) => {
      logOverload(request)
      metrics.onShed()
    },
    onRefused: (refusal, remoteAddress) => {
      logger.info('connection refused', { ...refusal, remoteAddress })
      metrics.onRefused(refusal.reason)
    },
  })
  cutRevoked = listener.cutRevoked
  metrics.watch({
    version: schemas.version,
    settle: recording.settle,
    ...{ keyStores: keyStores.all, keyStoreConfigs: keyStores.configs },
    connections: listener.tls.countConnections,
    gate: () => control.gate.stats(),
    ...{ control: control.figures, keyUses: watchKeyUses(store, cleanup) },
    policies: authorizer.stats,
    audit: () => audit?.stats(),
    witnesses: () => audit?.witnesses(),
    tripwire: () => tripwire?.stats(),
    webhooks: webhooks.stats,
    leaseGuard: control.guard.stats,
    tokens: resources.backends.stats,
    credentials: resources.credentials.all,
    droppedLogBlocks: log.droppedBlocks,
  })
  const reloadLog = logReloads(logger, 'xks')
  const certificates = createCertificateReload({
    config: config.listener,
    fingerprint,
    now: clock.now,
    apply: listener.tls.setMaterial,
    onReloaded: (fresh) => {
      reloadLog.onReloaded(fresh)
      metrics.setMaterial(fresh)
    },
    onFailed: reloadLog.onFailed,
  })
  certificates.start()
  cleanup.add(certificates.stop)
  await watchAdminCertificate(config, metrics, cleanup)

  // Workers share one admin listener, in their primary.
  const admin =
    options.worker === undefined
      ? await startAdminOf(config, { log, metrics: metrics.text, isReady, served: store })
      : undefined
  cleanup.add(() => admin?.stop())
  const pingServer = config.listener.ping && (await startPingServer(ping, config.listener.ping))
  cleanup.add(() => pingServer?.close())
  const xks = await listen(listener.tls.server, config.listener)
  control.guard.protect(xks.port)
  cleanup.add(() => drain(listener, ping, config.listener.drain))
  return {
    xks,
    ...(pingServer === undefined ? {} : { ping: pingServer.address }),
    ...(admin === undefined ? {} : { admin: admin.address }),
    facts: {
      ...xks,
      ...(pingServer === undefined ? {} : { ping: pingServer.address }),
      ...describeCertificate(material),
      keyStores: keyStores.all().map((one) => one.uriPath),
      leaseGuard: control.guard.missing ?? 'on',
      gate: control.gate.stats().reason ?? 'open',
    },
    startServing: ping.startServing,
    isReady,
    metrics: metrics.text,
    metricsSnapshot: metrics.snapshot,
    gateStats: () => control.gate.stats(),
    block: control.block,
    async reloadCertificates() {
      await Promise.all([certificates.reload(), admin?.reloadCertificates()])
    },
    async apply(next) {
      // Apply the webhooks first, because this is the only step that can fail.
      await webhooks.apply(next.webhooks)
      log.setLevel(next.logging.level)
      admin?.setCallers(next)
      resources.backends.setPins(next.backends)
      rotation.apply(next.keyStores)
      return keyStores.apply(next.keyStores)
    },
    logger,
    stop: () => cleanup.run(),
  }
}

/** Computes the body limit. Base64 takes four characters for three bytes. */
function toBodyLimit(limits: Config['limits']): number {
  const base64 = (bytes: number) => Math.ceil(bytes / 3) * 4
  return base64(limits.maxPlaintextBytes) + base64(limits.maxAadBytes) + BODY_ROOM_BYTES
}
