/** Compares two loads of a configuration: which changes apply while serving, and which need a restart. */
// SPDX-License-Identifier: Apache-2.0
import type { LoadedConfig } from './load.ts'

/** Settings that a running server applies on reload, with everything below them. */
const RELOADABLE = [
  'keyStores',
  'logging.level',
  'admin.tokens',
  'admin.clientCertificates.subjects',
] as const

/** The PIN of a token, and the settings below it that say where to read the PIN. */
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

/** Returns what runs after a reload: the running configuration with the reloadable settings of another. */
export function withReloadable(running: LoadedConfig, next: LoadedConfig): LoadedConfig {
  return {
    config: mix(running.config, next.config),
    raw: mix(running.raw, next.raw),
    secrets: new Map(
      [...running.secrets].map(([path, secret]) => [
        path,
        (PIN.test(path) ? next.secrets.get(path) : undefined) ?? secret,
      ]),
    ),
  }
}

/** The parts of both forms of a configuration that a reload applies. */
interface Reloadable {
  readonly keyStores: unknown
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
    backends: running.backends.map((one, i) => mixPins(one, next.backends[i])),
    logging: { ...running.logging, level: next.logging.level },
    ...(admin === undefined || next.admin === undefined
      ? {}
      : { admin: mixAdmin(admin, next.admin) }),
  }
}

/**
 * Applies new PINs if the tokens are the same, in the same order. Other tokens need a restart; until
 * then the running list keeps its PINs.
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

/** Returns the paths of the innermost parts that differ. */
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
    // The password of the database is read again for each connection.
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
