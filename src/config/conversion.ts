/** From the file as it is written to Config: paths absolute, times in milliseconds. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { toMilliseconds as ms } from '../core/duration.ts'
import { parseKeyStoreName } from '../core/ids.ts'
import type { Secret } from '../core/secret.ts'
import { toBackend } from './backends.ts'
import type {
  AdminConfig,
  ClientCertificateConfig,
  Config,
  ForwardedByConfig,
  KeyStoreConfig,
  ListenerConfig,
  PostgresConfig,
} from './config.ts'
import type { Secrets } from './load-secrets.ts'
import type { RawConfig } from './schema.ts'
import { STATE_NAME } from './state-folder.ts'

/**
 * @param raw without a fault
 * @param absolute of a path relative to the file
 * @param stateFolder where the two files of this instance are when a server holds the store
 */
export function toConfig(
  raw: RawConfig,
  secrets: Secrets,
  absolute: (path: string) => string,
  stateFolder: string,
): Config {
  const base = raw.store.path ?? join(stateFolder, STATE_NAME)
  return {
    workers: raw.workers,
    listener: toListener(raw.listener, absolute),
    store: {
      ...toPlace(raw.store, secrets.postgresPassword, absolute),
      masterKey: secrets.masterKey,
      pollIntervalMs: ms(raw.store.pollInterval),
    },
    control: {
      leaseMs: ms(raw.control.lease),
      sentinelFile: absolute(raw.control.sentinelFile ?? `${base}.block`),
      highWaterFile: absolute(raw.control.highWaterFile ?? `${base}.epoch`),
      restore: {
        people: raw.control.restore.people,
        delayMs: ms(raw.control.restore.delay),
      },
    },
    keyStores: raw.keyStores.map(toKeyStore),
    backends: raw.backends.map((one, i) => toBackend(one, i, secrets, absolute)),
    ...(raw.admin === undefined ? {} : { admin: toAdmin(raw.admin, absolute) }),
    limits: {
      maxPlaintextBytes: raw.limits.maxPlaintextBytes,
      maxAadBytes: raw.limits.maxAadBytes,
      requestDeadlineMs: ms(raw.limits.requestDeadline),
    },
    sigv4: { clockSkewMs: ms(raw.sigv4.clockSkew) },
    health: {
      intervalMs: ms(raw.health.interval),
      ...(raw.health.fleetSize === undefined ? {} : { fleetSize: raw.health.fleetSize }),
    },
    activity: {
      retentionMs: ms(raw.activity.retention),
      flushIntervalMs: ms(raw.activity.flushInterval),
      maxSubjects: raw.activity.maxSubjects,
    },
    logging: raw.logging,
    ...(raw.metrics === undefined ? {} : { metrics: raw.metrics }),
    ...(raw.tracing === undefined ? {} : { tracing: raw.tracing }),
  }
}

function toListener(
  raw: RawConfig['listener'],
  absolute: (path: string) => string,
): ListenerConfig {
  const { clientCertificate, ping, proxyProtocol, timeouts } = raw
  return {
    host: raw.host,
    port: raw.port,
    tls: {
      certificateFile: absolute(raw.tls.certificate),
      privateKeyFile: absolute(raw.tls.privateKey),
    },
    ...(clientCertificate === undefined
      ? {}
      : { clientCertificate: toClientCertificate(clientCertificate, absolute) }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
    http2: raw.http2,
    ...(ping === undefined ? {} : { ping }),
    timeouts: {
      headersMs: ms(timeouts.headers),
      requestMs: ms(timeouts.request),
      keepAliveMs: ms(timeouts.keepAlive),
      tlsHandshakeMs: ms(timeouts.tlsHandshake),
    },
    maxConnections: raw.maxConnections,
    maxRequestsPerConnection: raw.maxRequestsPerConnection,
    drain: { delayMs: ms(raw.drain.delay), timeoutMs: ms(raw.drain.timeout) },
  }
}

function toClientCertificate(
  raw: NonNullable<RawConfig['listener']['clientCertificate']>,
  absolute: (path: string) => string,
): ClientCertificateConfig {
  const { ca, regions = [], subjects = [], forwardedBy } = raw
  return {
    caFile: absolute(ca),
    subjects: [...regions.map(toKmsName), ...subjects],
    ...(forwardedBy === undefined ? {} : { forwardedBy: toForwardedBy(forwardedBy, absolute) }),
  }
}

function toForwardedBy(
  {
    certificate,
    ...rest
  }: NonNullable<NonNullable<RawConfig['listener']['clientCertificate']>['forwardedBy']>,
  absolute: (path: string) => string,
): ForwardedByConfig {
  if (certificate === undefined) return rest
  const { ca, subjects } = certificate
  return { ...rest, certificate: { caFile: absolute(ca), subjects } }
}

/** XKS 1.0.3, Authentication: the common name of the certificate that KMS shows. */
function toKmsName(region: string): string {
  return `cks.kms.${region}.amazonaws.com`
}

function toAdmin(
  raw: NonNullable<RawConfig['admin']>,
  absolute: (path: string) => string,
): AdminConfig {
  const { clientCertificates: certificates, tls } = raw
  return {
    host: raw.host,
    port: raw.port,
    ...(tls === undefined
      ? {}
      : {
          tls: {
            certificateFile: absolute(tls.certificate),
            privateKeyFile: absolute(tls.privateKey),
          },
        }),
    ...(certificates === undefined
      ? {}
      : {
          clientCertificates: {
            caFile: absolute(certificates.ca),
            subjects: certificates.subjects,
          },
        }),
    tokens: raw.tokens ?? [],
  }
}

function toKeyStore(raw: RawConfig['keyStores'][number]): KeyStoreConfig {
  const name = parseKeyStoreName(raw.name)
  if (name === undefined) throw new TypeError('the schema lets a wrong key store name pass')
  const { quota, regions } = raw
  return {
    name,
    prefix: raw.prefix,
    backend: raw.backend,
    keyPrefix: raw.keyPrefix,
    accept: raw.accept,
    ...(regions === undefined ? {} : { regions }),
    ...(quota === undefined
      ? {}
      : {
          quota: {
            requestsPerSecond: quota.requestsPerSecond,
            burst: quota.burst ?? quota.requestsPerSecond,
          },
        }),
  }
}

function toPlace(
  raw: RawConfig['store'],
  password: Secret | undefined,
  absolute: (path: string) => string,
): Pick<Config['store'], 'path' | 'postgres'> {
  if (raw.postgres === undefined) return raw.path === undefined ? {} : { path: absolute(raw.path) }
  const { host, port, database, user, password: source, tls } = raw.postgres
  return {
    postgres: {
      ...{ host, port, database, user },
      ...(source?.file === undefined
        ? password && { password }
        : { passwordFile: absolute(source.file) }),
      ...(tls.mode === 'off' ? {} : { tls: toTls(tls, absolute) }),
    },
  }
}

function toTls(
  { ca, certificate, privateKey, serverName }: NonNullable<RawConfig['store']['postgres']>['tls'],
  absolute: (path: string) => string,
): NonNullable<PostgresConfig['tls']> {
  return {
    ...(ca === undefined ? {} : { caFile: absolute(ca) }),
    ...(certificate === undefined ? {} : { certificateFile: absolute(certificate) }),
    ...(privateKey === undefined ? {} : { privateKeyFile: absolute(privateKey) }),
    ...(serverName === undefined ? {} : { serverName }),
  }
}
