/**
 * Compares two loaded versions of a configuration, and determines which changes apply while serving
 * and which need a restart.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../core/secret.ts'
import type { LoadedConfig } from './load.ts'

/** Settings that a running server applies on reload, including everything below them. */
const RELOADABLE = [
  'keyStores',
  'webhooks',
  'logging.level',
  'admin.tokens',
  'admin.clientCertificates.subjects',
] as const

/** A reload applies the secrets of webhooks together with their section. */
const isOfWebhook = (path: string) => path.startsWith('webhooks[')

/** Matches the PIN of a token, and the settings below it that name the source of the PIN. */
const PIN = /^backends\[\d+\]\.tokens\[\d+\]\.pin(?:\.|$)/

export interface ConfigChanges {
  /** Paths of settings that a running server applies on reload. */
  readonly reloadable: readonly string[]
  readonly needsRestart: readonly string[]
}

export function compareConfigs(before: LoadedConfig, after: LoadedConfig): ConfigChanges {
  const changed = [...compare(before.raw, after.raw, ''), ...compareSecrets(before, after)]
  const isReloadable = (path: string) =>
    PIN.test(path) ||
    RELOADABLE.some(
      (one) => path === one || path.startsWith(`${one}.`) || path.startsWith(`${one}[`),
    )
  return {
    reloadable: changed.filter(isReloadable),
    needsRestart: changed.filter((path) => !isReloadable(path)),
  }
}

/**
 * Returns the configuration in effect after a reload: the running one, with the reloadable settings
 * of `next`.
 */
export function withReloadable(running: LoadedConfig, next: LoadedConfig): LoadedConfig {
  return {
    config: mix(running.config, next.config),
    raw: mix(running.raw, next.raw),
    secrets: new Map([
      ...[...running.secrets]
        .filter(([path]) => !isOfWebhook(path))
        .map(([path, secret]): [string, Secret] => [
          path,
          (PIN.test(path) ? next.secrets.get(path) : undefined) ?? secret,
        ]),
      ...[...next.secrets].filter(([path]) => isOfWebhook(path)),
    ]),
  }
}

/** The settings that a reload applies; both forms of a configuration have this shape. */
interface Reloadable {
  readonly keyStores: unknown
  readonly webhooks: unknown
  readonly backends: readonly unknown[]
  readonly logging: { readonly level: unknown }
  readonly admin?: {
    readonly tokens?: unknown
    readonly clientCertificates?: { readonly subjects: unknown }
  }
}

function mix<T extends Reloadable>(running: T, next: T): T {
  const { admin } = running
  return {
    ...running,
    keyStores: next.keyStores,
    webhooks: next.webhooks,
    backends: running.backends.map((one, i) => mixPins(one, next.backends[i])),
    logging: { ...running.logging, level: next.logging.level },
    ...(admin === undefined || next.admin === undefined
      ? {}
      : { admin: mixAdmin(admin, next.admin) }),
  }
}

/**
 * Applies new PINs if the tokens and their order are unchanged. Otherwise, the running
 * configuration keeps its PINs until a restart.
 */
function mixPins(running: unknown, next: unknown): unknown {
  if (!isSettings(running) || !isSettings(next)) return running
  const [own, others] = [running['tokens'], next['tokens']]
  if (!isList(own) || !isList(others) || own.length !== others.length) return running
  const isSameToken = (a: unknown, b: unknown) =>
    isSettings(a) &&
    isSettings(b) &&
    ['label', 'serial', 'slot'].every((name) => a[name] === b[name])
  if (!own.every((one, i) => isSameToken(one, others[i]))) return running
  return {
    ...running,
    tokens: own.map((one, i) => {
      const other = others[i]
      return isSettings(one) && isSettings(other) ? { ...one, pin: other['pin'] } : one
    }),
  }
}

function mixAdmin(
  { clientCertificates, ...running }: NonNullable<Reloadable['admin']>,
  next: NonNullable<Reloadable['admin']>,
) {
  return {
    ...running,
    tokens: next.tokens,
    ...(clientCertificates === undefined
      ? {}
      : {
          clientCertificates: {
            ...clientCertificates,
            // Without the section, no certificate identifies a caller any more.
            subjects: next.clientCertificates?.subjects ?? [],
          },
        }),
  }
}

/** Returns the paths of the innermost values that differ between the two configurations. */
function compare(before: unknown, after: unknown, path: string): readonly string[] {
  if (before === after) return []
  if (isList(before) && isList(after)) {
    const length = Math.max(before.length, after.length)
    return Array.from({ length }, (_none, i) => i).flatMap((i) =>
      compare(before[i], after[i], `${path}[${String(i)}]`),
    )
  }
  if (isSettings(before) && isSettings(after)) {
    const names = new Set([...Object.keys(before), ...Object.keys(after)])
    return [...names].flatMap((name) =>
      compare(before[name], after[name], path === '' ? name : `${path}.${name}`),
    )
  }
  return [path]
}

/** A secret can change while the setting that names its source stays the same. */
function compareSecrets(before: LoadedConfig, after: LoadedConfig): readonly string[] {
  return [...after.secrets].flatMap(([path, secret]) => {
    const old = before.secrets.get(path)
    const isChanged = old !== undefined && old.reveal() !== secret.reveal()
    // A rotation of the database password needs no restart, because the password is read again for
    // each connection.
    const isRotated =
      path === 'store.postgres.password' && after.raw.store.postgres?.password?.env === undefined
    return isChanged && !isRotated ? [path] : []
  })
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value)
}

function isSettings(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
