/** `store.path` or `store.postgres`, from the file as it is written to Config. */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../core/secret.ts'
import type { Config, PostgresConfig } from './config.ts'
import type { RawConfig } from './schema.ts'

/** What other files of this host are named after, where a server holds the store. */
const DEFAULT_BASE = 'latchkey'

/** Files beside the store have this name and an ending. */
export function toBase(raw: RawConfig['store']): string {
  return raw.path ?? DEFAULT_BASE
}

export function toPlace(
  raw: RawConfig['store'],
  password: Secret | undefined,
  absolute: (path: string) => string,
): Pick<Config['store'], 'path' | 'postgres'> {
  if (raw.postgres === undefined) return raw.path === undefined ? {} : { path: absolute(raw.path) }
  const { host, port, database, user, tls } = raw.postgres
  return {
    postgres: {
      ...{ host, port, database, user },
      ...(password === undefined ? {} : { password }),
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
