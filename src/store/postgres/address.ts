/** Where a PostgreSQL server is, and how to log in: secrets and certificates are read for each connection. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type { ConnectionOptions } from 'node:tls'
import { Secret } from '../../core/secret.ts'
import { StorageError } from '../database.ts'

export interface PostgresAddress {
  /** As libpq takes it: one host, or several with commas between; each may have `:port` behind it. */
  readonly host: string
  /** Port of the hosts that name none. */
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Read for each connection, so that a rotated password needs no restart. Instead of `password`. */
  readonly passwordFile?: string
  /** Absent: in the clear. */
  readonly tls?: {
    /** PEM; absent: the authorities that Node.js comes with. */
    readonly caFile?: string
    /** A client certificate, PEM, and its key. */
    readonly certificateFile?: string
    readonly privateKeyFile?: string
    /** The name that its certificate must have; absent: the host that was dialled. */
    readonly serverName?: string
  }
}

/** An address with everything that its files hold at this moment. */
export interface PostgresTarget {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Absent: in the clear, which is for loopback only. */
  readonly tls?: Pick<ConnectionOptions, 'ca' | 'cert' | 'key'> & { readonly serverName?: string }
}

export interface PostgresHost {
  readonly host: string
  readonly port: number
}

/** The hosts of a list such as `db1,db2:5433,[fd00::1]:5434`, in its order. */
export function parseHosts(list: string, port: number): readonly PostgresHost[] {
  return list
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => {
      const [, bracketed, plain, own] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? []
      // An IPv6 address without brackets has colons and no port of its own.
      const host = bracketed ?? plain ?? text
      return { host, port: own === undefined ? port : Number(own) }
    })
}

/** @throws StorageError STORE_UNREACHABLE when a file cannot be read */
export async function loadTarget(address: PostgresAddress): Promise<PostgresTarget> {
  const { host, port, database, user, passwordFile, tls } = address
  const password =
    passwordFile === undefined ? address.password : new Secret(await readLine(passwordFile))
  return {
    ...{ host, port, database, user },
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls: await loadTls(tls) }),
  }
}

async function loadTls(
  tls: NonNullable<PostgresAddress['tls']>,
): Promise<NonNullable<PostgresTarget['tls']>> {
  const load = async (name: 'ca' | 'cert' | 'key', path: string | undefined) =>
    path === undefined ? {} : { [name]: await read(path) }
  return {
    ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
    ...(await load('ca', tls.caFile)),
    ...(await load('cert', tls.certificateFile)),
    ...(await load('key', tls.privateKeyFile)),
  }
}

async function readLine(path: string): Promise<string> {
  return (await read(path)).toString('utf8').replace(/\r?\n$/, '')
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new StorageError(
      'STORE_UNREACHABLE',
      `no connection to the store: ${path} cannot be read (${String(code)})`,
      { cause },
    )
  }
}
