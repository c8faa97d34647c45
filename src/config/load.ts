/** From a file to a whole, frozen Config, or to the list of everything that is wrong with it. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { Ajv, type ErrorObject } from 'ajv'
import { parseDocument } from 'yaml'
import { parseKeyStoreName } from '../base/ids.ts'
import type { Config, KeyStoreConfig, ListenerConfig, MasterKeyConfig } from './config.ts'
import { toMilliseconds as ms } from './duration.ts'
import { ConfigError, toFault, type Fault } from './faults.ts'
import { CONFIG_SCHEMA, type RawConfig } from './schema.ts'
import { loadSecret } from './secrets.ts'
import { checkSemantics } from './semantics.ts'

/** @throws ConfigError with every fault of the file */
export async function loadConfig(
  file: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Config> {
  const path = resolve(file)
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const code = String((cause as NodeJS.ErrnoException).code)
    throw new ConfigError(file, [{ path: '', message: `cannot be read (${code})` }])
  })
  const raw = parseConfig(file, text)
  const masterKey = await loadMasterKey(file, raw, dirname(path), environment)
  return deepFreeze(toConfig(raw, masterKey, (relative) => resolve(dirname(path), relative)))
}

/** Syntax, schema and semantics; no file beside it is looked at. @throws ConfigError */
export function parseConfig(file: string, text: string): RawConfig {
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true })
  if (document.errors.length > 0) {
    throw new ConfigError(
      file,
      document.errors.map(({ message }) => ({ path: '', message: message.split('\n')[0] ?? '' })),
    )
  }
  const value: unknown = document.toJS()
  const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true, strict: true })
  const validate = ajv.compile<RawConfig>(CONFIG_SCHEMA)
  if (!validate(value)) throw new ConfigError(file, toFaults(validate.errors ?? []))
  const faults = checkSemantics(value)
  if (faults.length > 0) throw new ConfigError(file, faults)
  return value
}

function toFaults(errors: readonly ErrorObject[]): readonly Fault[] {
  return errors.map((error) => {
    const parent = error.parentSchema as { properties?: object } | undefined
    return toFault(error, Object.keys(parent?.properties ?? {}))
  })
}

async function loadMasterKey(
  file: string,
  raw: RawConfig,
  folder: string,
  environment: NodeJS.ProcessEnv,
): Promise<MasterKeyConfig> {
  const { masterKey } = raw.store
  if (masterKey.file !== undefined) return { kind: 'file', path: resolve(folder, masterKey.file) }
  const source =
    masterKey.passphrase?.file === undefined
      ? { kind: 'env' as const, name: masterKey.passphrase?.env ?? '' }
      : { kind: 'file' as const, path: resolve(folder, masterKey.passphrase.file) }
  const result = await loadSecret(source, environment)
  if ('problem' in result) {
    throw new ConfigError(file, [{ path: 'store.masterKey.passphrase', message: result.problem }])
  }
  return { kind: 'passphrase', passphrase: result.secret }
}

function toConfig(
  raw: RawConfig,
  masterKey: MasterKeyConfig,
  absolute: (path: string) => string,
): Config {
  return {
    listener: toListener(raw.listener, absolute),
    store: {
      path: absolute(raw.store.path),
      masterKey,
      pollIntervalMs: ms(raw.store.pollInterval),
    },
    keyStores: raw.keyStores.map(toKeyStore),
    limits: {
      maxPlaintextBytes: raw.limits.maxPlaintextBytes,
      maxAadBytes: raw.limits.maxAadBytes,
      requestDeadlineMs: ms(raw.limits.requestDeadline),
    },
    sigv4: { clockSkewMs: ms(raw.sigv4.clockSkew) },
    health: { intervalMs: ms(raw.health.interval), fleetSize: raw.health.fleetSize },
    logging: raw.logging,
  }
}

function toListener(
  raw: RawConfig['listener'],
  absolute: (path: string) => string,
): ListenerConfig {
  const { clientCertificate, ping, timeouts } = raw
  return {
    host: raw.host,
    port: raw.port,
    tls: {
      certificateFile: absolute(raw.tls.certificate),
      privateKeyFile: absolute(raw.tls.privateKey),
    },
    ...(clientCertificate === undefined
      ? {}
      : {
          clientCertificate: {
            caFile: absolute(clientCertificate.ca),
            subjects: clientCertificate.subjects,
          },
        }),
    http2: raw.http2,
    ...(ping === undefined ? {} : { ping }),
    timeouts: {
      headersMs: ms(timeouts.headers),
      requestMs: ms(timeouts.request),
      keepAliveMs: ms(timeouts.keepAlive),
      tlsHandshakeMs: ms(timeouts.tlsHandshake),
    },
    maxConnections: raw.maxConnections,
    drain: { delayMs: ms(raw.drain.delay), timeoutMs: ms(raw.drain.timeout) },
  }
}

function toKeyStore(raw: RawConfig['keyStores'][number]): KeyStoreConfig {
  const name = parseKeyStoreName(raw.name)
  if (name === undefined) throw new TypeError('the schema lets a wrong key store name pass')
  const { quota, regions } = raw
  return {
    name,
    prefix: raw.prefix,
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

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(deepFreeze)
    Object.freeze(value)
  }
  return value
}
