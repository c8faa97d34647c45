/**
 * Collects the metrics of one process: the metrics of its requests, and the states of its
 * components.
 */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate } from 'node:crypto'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Config } from '../config/config.ts'
import type { GateStats } from '../killswitch/gate/gate.ts'
import type { ControlFigures } from '../killswitch/instance/control-watch.ts'
import type { PolicyStats } from '../policy/authorizer.ts'
import type { LeaseGuardStats } from '../killswitch/gate/guard/lease-guard.ts'
import { createCertificateWatch, type SeenCertificate } from '../server/tls/client-certificate.ts'
import type { Handshake } from '../server/tls/server.ts'
import { type Address, startMetricsServer } from '../server/listen.ts'
import type { TlsMaterial } from '../server/tls/material.ts'
import { createCertificateReload, loadForReload } from '../server/tls/reload.ts'
import { toTlsFiles } from './admin.ts'
import { createRequestMetrics, measureBaseline } from '../observability/metrics/request-metrics.ts'
import { createMetricsRegistry, type MetricsSnapshot } from '../observability/metrics/registry.ts'
import type { AuditState, WitnessState } from '../observability/metrics/audit-states.ts'
import {
  createStateCollectors,
  type TokenState,
  type TripwireState,
  type WebhookState,
} from '../observability/metrics/states.ts'
import { startTracing } from '../observability/tracing.ts'
import type { Credential } from '../sigv4/credential.ts'
import type { KeyStore } from '../xks/key-store.ts'
import type { RequestRecord } from '../core/request.ts'

export interface ServerMetrics {
  onFinish(record: RequestRecord): void
  onHandshake(handshake: Handshake): void
  /** Counts the certificates that clients present, and reports changes of a client's certificate. */
  onCertificate(seen: SeenCertificate): void
  onRefused(reason: string): void
  onShed(): void
  /**
   * Sets the certificates now in use.
   * @param prefix prefix for their names in the metric
   */
  setMaterial(material: TlsMaterial, prefix?: 'admin_'): void
  /** Call once, after all components have been created. */
  watch(parts: WatchedParts): void
  snapshot(): Promise<MetricsSnapshot>
  text(): Promise<string>
}

export interface WatchedParts {
  readonly version: string
  /** Passes finished requests that are still queued to `onFinish`. */
  readonly settle: () => void
  readonly keyStores: () => readonly KeyStore[]
  readonly keyStoreConfigs: () => Config['keyStores']
  readonly connections: () => number
  readonly gate: () => GateStats
  readonly control: () => ControlFigures | undefined
  readonly keyUses: () => ReadonlyMap<string, number>
  readonly policies: () => PolicyStats
  readonly audit: () => AuditState | undefined
  readonly witnesses: () => WitnessState | undefined
  readonly tripwire: () => TripwireState | undefined
  readonly leaseGuard: () => LeaseGuardStats
  readonly tokens: () => ReadonlyMap<
    string,
    { readonly tokens: readonly Omit<TokenState, 'backend'>[] }
  >
  readonly credentials: () => readonly Credential[]
  readonly webhooks: () => readonly WebhookState[]
  readonly droppedLogBlocks: () => number
}

export async function createServerMetrics(
  config: Config,
  {
    version,
    instanceId,
    logger,
  }: { readonly version: string; readonly instanceId: string; readonly logger: Logger },
  cleanup: Cleanup,
): Promise<ServerMetrics> {
  const baselineMs = measureBaseline(clock)
  const account = createRequestMetrics(baselineMs)
  const registry = createMetricsRegistry()
  const tracing = await (config.tracing && startTracing({ ...config.tracing, version, instanceId }))
  cleanup.add(() => tracing?.stop())
  registry.add(account.values)
  /** Time of the last valid signature, by access key id. */
  const lastUsedAt = new Map<string, number>()
  const watchCertificate = createCertificateWatch((change) => {
    account.certificateChange(change.field)
    logger.warn('client certificate changed', { ...change })
  })
  let certificates: Readonly<Record<string, number>> = {}
  let settle: () => void = () => undefined
  return {
    onFinish(record) {
      account.request(record)
      tracing?.request(record)
      // Only a verified signature sets accessKeyId, so the map stays small.
      if (record.accessKeyId !== undefined) lastUsedAt.set(record.accessKeyId, record.at)
    },
    onHandshake: account.handshake,
    onCertificate(seen) {
      account.clientCertificate(seen.result)
      watchCertificate(seen)
    },
    onRefused: account.refusedConnection,
    onShed: account.shed,
    setMaterial(material, prefix) {
      const ends = Object.entries(toEnds(material))
      certificates = {
        ...certificates,
        ...Object.fromEntries(ends.map(([name, end]) => [`${prefix ?? ''}${name}`, end])),
      }
    },
    watch(parts) {
      settle = parts.settle
      registry.add(
        createStateCollectors({
          ...parts,
          baselineMs,
          now: clock.now,
          node: process.versions.node,
          instanceId,
          quotas: () =>
            parts
              .keyStoreConfigs()
              .flatMap(({ name, quota }) =>
                quota === undefined ? [] : [{ keyStore: name, ...quota }],
              ),
          managers: () =>
            parts
              .keyStores()
              .flatMap(({ name, health }) =>
                health.current().map((manager) => ({ keyStore: name, ...manager })),
              ),
          tokens: () =>
            [...parts.tokens()].flatMap(([backend, { tokens }]) =>
              tokens.map((token) => ({ ...token, backend })),
            ),
          certificates: () => certificates,
          credentials: () =>
            parts.credentials().map(({ keyStore, accessKeyId, createdAt }) => {
              const usedAt = lastUsedAt.get(accessKeyId)
              const use = usedAt === undefined ? {} : { lastUsedAt: usedAt }
              return { keyStore, accessKeyId, createdAt, ...use }
            }),
        }),
      )
    },
    snapshot() {
      settle()
      return registry.snapshot()
    },
    text() {
      settle()
      return registry.text()
    },
  }
}

/**
 * Starts the server on the separate metrics port if one is configured. `cleanup` closes the server.
 */
export async function serveMetrics(
  { metrics }: Config,
  text: () => Promise<string>,
  cleanup: Cleanup,
): Promise<{ readonly metrics?: Address }> {
  if (metrics === undefined) return {}
  const server = await startMetricsServer(text, metrics)
  cleanup.add(server.close)
  return { metrics: server.address }
}

/**
 * Watches the admin certificate only for the metric: every process has this metric, but only one
 * process runs the admin listener.
 */
export async function watchAdminCertificate(
  config: Config,
  metrics: ServerMetrics,
  cleanup: Cleanup,
): Promise<void> {
  const files = config.admin && toTlsFiles(config.admin)
  if (files === undefined) return
  const setMaterial = (material: TlsMaterial) => {
    metrics.setMaterial(material, 'admin_')
  }
  const { material, fingerprint } = await loadForReload(files, clock.now())
  setMaterial(material)
  const watch = createCertificateReload({
    ...{ config: files, fingerprint, now: clock.now, apply: setMaterial },
    ...{ onReloaded: () => undefined, onFailed: () => undefined }, // the listener's own reload logs it
  })
  watch.start()
  cleanup.add(watch.stop)
}

/**
 * Returns the expiry of the server certificate, of the first client authority to expire, and of the
 * first terminator authority to expire.
 */
function toEnds(material: TlsMaterial): Readonly<Record<string, number>> {
  const { certificate, context, terminatorContext } = material
  return {
    server: Date.parse(certificate.validTo),
    ...toFirstEnd('client_ca', context.ca),
    ...toFirstEnd('terminator_ca', terminatorContext?.ca),
  }
}

const PEM = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g

function toFirstEnd(name: string, ca: unknown): Readonly<Record<string, number>> {
  if (!Buffer.isBuffer(ca)) return {}
  const ends = (ca.toString('latin1').match(PEM) ?? []).map((pem) =>
    Date.parse(new X509Certificate(pem).validTo),
  )
  return { [name]: Math.min(...ends) }
}

/** The oldest release of Node.js that still gets security fixes. */
const OLDEST_SUPPORTED_NODE = 22

export function warnOfNode(logger: Logger): void {
  const { node } = process.versions
  if (Number(node.split('.')[0]) >= OLDEST_SUPPORTED_NODE) return
  logger.warn('this release of Node.js no longer receives security fixes', {
    node,
    hint: `use Node.js ${String(OLDEST_SUPPORTED_NODE)} or later with OpenSSL 3.5, which hybrid key exchange requires`,
  })
}
