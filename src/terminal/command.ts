/** The interface of a subcommand, and the context passed to it. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { LatchkeyError } from '../core/errors.ts'
import { parseExternalKeyId, type ExternalKeyId } from '../core/ids.ts'
import type { Config } from '../config/config.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Output } from './output.ts'

export interface Flag {
  readonly type: 'string' | 'boolean'
  /** Whether the flag may be given several times; `stringsFlag` returns all values. */
  readonly isRepeatable?: true
  readonly short?: string
  /** Placeholder for the value in help text. */
  readonly value?: string
  readonly description: string
}

/**
 * A subcommand. Each subcommand has its own module in commands/, and its name is defined in
 * commands.ts.
 */
export interface Command {
  /** Operands that follow the command name, such as `KEY_ID`. */
  readonly operands?: readonly string[]
  readonly flags: Readonly<Record<string, Flag>>
  readonly examples: readonly string[]
  /** Runs the command. If the promise resolves, the exit code is 0. */
  run(context: Context): Promise<void>
}

export interface NamedCommand extends Command {
  /** Full name, such as `keys create`. */
  readonly name: string
  readonly summary: string
}

export type FlagValue = string | boolean | readonly string[]

export interface Context {
  readonly operands: readonly string[]
  readonly flags: Readonly<Record<string, FlagValue | undefined>>
  readonly output: Output
  readonly environment: NodeJS.ProcessEnv
}

export class UsageError extends LatchkeyError<'USAGE' | 'INPUT_INVALID' | 'FILE_EXPOSED'> {
  override readonly name = 'UsageError'
}

/** Flags that every command has. */
export const COMMON_FLAGS = {
  json: { type: 'boolean', description: 'Print one JSON document.' },
  as: {
    type: 'string',
    short: 'o',
    value: 'FORM',
    description: 'Output format: json, yaml or wide.',
  },
  wide: { type: 'boolean', description: 'Do not truncate tables to the width of the terminal.' },
  help: { type: 'boolean', short: 'h', description: 'Print this help.' },
} as const satisfies Record<string, Flag>

/**
 * Returns a command's own flags and the common flags. If the command itself defines -o, its
 * definition takes precedence.
 */
export function allFlagsOf({ flags }: Pick<Command, 'flags'>): Readonly<Record<string, Flag>> {
  const isTaken = Object.values(flags).some(({ short }) => short === COMMON_FLAGS.as.short)
  const { type, value, description } = COMMON_FLAGS.as
  return { ...flags, ...COMMON_FLAGS, ...(isTaken && { as: { type, value, description } }) }
}

export const CONFIG_FLAG = {
  config: {
    type: 'string',
    short: 'c',
    value: 'FILE',
    description:
      'Configuration file (default: $LATCHKEY_CONFIG, else ./latchkey.yaml, else /etc/latchkey/latchkey.yaml).',
  },
} as const satisfies Record<string, Flag>

export const KEY_STORE_FLAG = {
  'key-store': {
    type: 'string',
    short: 's',
    value: 'NAME',
    description: 'Key store (default: the only one).',
  },
} as const satisfies Record<string, Flag>

export const BACKEND_FLAG = {
  backend: {
    type: 'string',
    short: 'b',
    value: 'NAME',
    description: 'Name of the entry of `backends` to use (default: the only one).',
  },
} as const satisfies Record<string, Flag>

/** Last line of output from a command that needs --yes and was run without it. */
export const ADD_YES = 'Add --yes to do it.'

export const YES_FLAG = {
  yes: {
    type: 'boolean',
    short: 'y',
    description: 'Apply the change. Without it, only show what would be done.',
  },
  'dry-run': { type: 'boolean', description: 'Only show what would be done (the default).' },
} as const satisfies Record<string, Flag>

/** Flags for commands that take effect immediately unless --dry-run is given. */
export const DRY_RUN_FLAG = {
  'dry-run': { type: 'boolean', description: 'Only show what would be done.' },
  yes: { type: 'boolean', short: 'y', description: 'Apply the change (the default).' },
} as const satisfies Record<string, Flag>

const LOCAL_CONFIG = 'latchkey.yaml'
/**
 * Path of the configuration file in packages, in container images and after `latchkey init
 * --system`.
 */
export const SYSTEM_CONFIG = '/etc/latchkey/latchkey.yaml'

export function configPath(context: Context): string {
  const flag = stringFlag(context, 'config')
  const named = flag ?? context.environment['LATCHKEY_CONFIG']
  if (named !== undefined) return named
  const isInstalled = !existsSync(LOCAL_CONFIG) && existsSync(SYSTEM_CONFIG)
  return isInstalled ? SYSTEM_CONFIG : LOCAL_CONFIG
}

/** Loads the configuration. The import is dynamic, so that other commands start faster. */
export async function loadContextConfig(context: Context): Promise<Config> {
  const { loadConfig } = await import('../config/load.ts')
  return loadConfig(configPath(context), context.environment)
}

/**
 * Like loadContextConfig, but also returns the raw settings and the secrets, which a later reload
 * compares with the new ones.
 */
export async function loadServedConfig(context: Context): Promise<LoadedConfig> {
  const { loadConfigWithSource } = await import('../config/load.ts')
  return loadConfigWithSource(configPath(context), context.environment)
}

/**
 * Loads only the sections that commands on the control store need, so that errors in other sections
 * do not block them.
 */
export async function loadControlConfig(context: Context): Promise<Config> {
  const { loadControlConfig } = await import('../config/load.ts')
  return loadControlConfig(configPath(context), context.environment)
}

export function stringFlag(context: Context, name: string): string | undefined {
  const value = context.flags[name]
  return typeof value === 'string' ? value : undefined
}

/** Returns the values of a repeatable flag, in the order of the command line. */
export function stringsFlag(context: Context, name: string): readonly string[] {
  const value = context.flags[name]
  return typeof value === 'object' ? value : []
}

/**
 * The part of a configuration that lists the key stores. A remote listener reports only their
 * names.
 */
export interface KeyStoreList<Store extends { readonly name: string; readonly backend?: string }> {
  readonly keyStores: readonly Store[]
}

/**
 * Finds the key store that --key-store names. Without that flag, finds the only key store, or the
 * only one on the backend that --backend names.
 * @throws UsageError
 */
export function findKeyStore<Store extends { readonly name: string; readonly backend?: string }>(
  context: Context,
  config: KeyStoreList<Store>,
): Store {
  const name = stringFlag(context, 'key-store')
  const backend = stringFlag(context, 'backend')
  const keyStores = config.keyStores.filter(
    (one) => backend === undefined || one.backend === backend,
  )
  const names = keyStores.map((keyStore) => keyStore.name).join(', ')
  const [first, second] = keyStores
  if (first === undefined) {
    throw new UsageError('USAGE', `no key store uses the backend ${String(backend)}`)
  }
  if (name === undefined && second === undefined) return first
  if (name === undefined) {
    throw new UsageError(
      'USAGE',
      `several key stores are configured; choose one with --key-store: ${names}`,
    )
  }
  const found = keyStores.find((keyStore) => keyStore.name === name)
  if (found === undefined) {
    throw new UsageError(
      'USAGE',
      `the configuration has no key store ${name}; configured: ${names}`,
    )
  }
  return found
}

/** Finds the entry of `backends` that --backend names, or the only one. @throws UsageError */
export function findBackend(context: Context, config: Config): Config['backends'][number] {
  const name = stringFlag(context, 'backend')
  const names = config.backends.map((backend) => backend.name).join(', ')
  const [first, second] = config.backends
  if (name === undefined && first !== undefined && second === undefined) return first
  if (first === undefined) throw new UsageError('USAGE', 'the configuration has no backends')
  if (name === undefined) {
    throw new UsageError(
      'USAGE',
      `several backends are configured; choose one with --backend: ${names}`,
    )
  }
  const found = config.backends.find((backend) => backend.name === name)
  if (found === undefined) {
    throw new UsageError('USAGE', `the configuration has no backend ${name}; configured: ${names}`)
  }
  return found
}

/** @throws UsageError */
export function keyIdOperand(context: Context): ExternalKeyId {
  const [text = ''] = context.operands
  const keyId = parseExternalKeyId(text)
  if (keyId === undefined) {
    throw new UsageError(
      'INPUT_INVALID',
      'expected a key id of 1 to 128 letters, digits, hyphens, periods and underscores',
    )
  }
  return keyId
}
