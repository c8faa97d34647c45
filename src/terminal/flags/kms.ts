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
    description: "Name of the custom key store in KMS (default: the key store's name).",
  },
  region: {
    type: 'string',
    value: 'REGION',
    description: 'AWS region (default: $AWS_REGION, else the region of the AWS profile).',
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
