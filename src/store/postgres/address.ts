/** Where a PostgreSQL server is, and how to trust it: files are read each time it is opened. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { checkServerIdentity } from 'node:tls'
import type { Secret } from '../../core/secret.ts'
import type { PostgresTarget } from './session.ts'

export interface PostgresAddress {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Absent: in the clear. */
  readonly tls?: {
    /** PEM; absent: the authorities that Node.js comes with. */
    readonly caFile?: string
    /** A client certificate, PEM, and its key. */
    readonly certificateFile?: string
    readonly privateKeyFile?: string
    /** The name that its certificate must have; absent: `host`. */
    readonly serverName?: string
  }
}

/** @throws a system error */
export async function loadTarget({ tls, ...address }: PostgresAddress): Promise<PostgresTarget> {
  if (tls === undefined) return address
  const load = async (name: 'ca' | 'cert' | 'key', path: string | undefined) =>
    path === undefined ? {} : { [name]: await readFile(path) }
  const name = tls.serverName ?? address.host
  return {
    ...address,
    tls: {
      rejectUnauthorized: true,
      // pg asks for `host` by SNI, whatever is said here, and for an address Node would check nothing but "localhost".
      checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
      ...(isIP(name) === 0 ? { servername: name } : {}),
      ...(await load('ca', tls.caFile)),
      ...(await load('cert', tls.certificateFile)),
      ...(await load('key', tls.privateKeyFile)),
    },
  }
}
