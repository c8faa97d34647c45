/** Flags of the commands that call AWS. Secrets and AWS credentials never come from the command line. */
// SPDX-License-Identifier: Apache-2.0
import type { Config, KeyStoreConfig } from '../../config/config.ts'
import {
  CONFIG_FLAG,
  findKeyStore,
  KEY_STORE_FLAG,
  stringFlag,
  UsageError,
  type Context,
  type Flag,
} from '../command.ts'

export const KMS_FLAGS = {
  name: {
    type: 'string',
    value: 'NAME',
    description: 'Name of the custom key store in KMS (default: the name of the key store).',
  },
  region: {
    type: 'string',
    value: 'REGION',
    description: 'AWS region (default: AWS_REGION or the profile).',
  },
  ...KEY_STORE_FLAG,
  ...CONFIG_FLAG,
} as const satisfies Record<string, Flag>

export function storeName(context: Context, config: Config): string {
  return stringFlag(context, 'name') ?? findKeyStore(context, config).name
}

export function regionOf(context: Context): string | undefined {
  const { environment } = context
  return (
    stringFlag(context, 'region') ?? environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION']
  )
}

/** `10m`, `90s`, `2h`. @throws UsageError */
export function durationFlag(context: Context, name: string, otherwiseMs: number): number {
  const text = stringFlag(context, name)
  if (text === undefined) return otherwiseMs
  const [, count, unit = ''] = /^(\d{1,6})(ms|s|m|h)$/.exec(text) ?? []
  const factor = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[unit]
  if (count === undefined || factor === undefined) {
    throw new UsageError('USAGE', `--${name} is a number and a unit: 90s, 10m, 2h`)
  }
  return Number(count) * factor
}

/** @throws UsageError */
export function hostFlag(
  context: Context,
  name: string,
): { readonly host: string; readonly port: number } | undefined {
  const text = stringFlag(context, name)
  if (text === undefined) return undefined
  const [, host = '', port = ''] = /^([^\s/:]+):(\d{1,5})$/.exec(text) ?? []
  if (host === '' || Number(port) > 65_535) {
    throw new UsageError('USAGE', `--${name}: expected HOST:PORT`)
  }
  return { host, port: Number(port) }
}

export function uriPathOf(keyStore: KeyStoreConfig): string {
  return `${keyStore.prefix}/kms/xks/v1`
}
