/**
 * Address and login of a PostgreSQL server. Secrets and certificates are read for each connection.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type { ConnectionOptions } from 'node:tls'
import { runProgram } from '../../core/program.ts'
import { Secret } from '../../core/secret.ts'
import { StorageError } from '../database.ts'

export interface PostgresAddress {
  /** In libpq's format: one host, or several separated by commas, each with an optional `:port`. */
  readonly host: string
  /** Port of hosts without their own. */
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Read for each connection, so that a rotated password needs no restart. Replaces `password`. */
  readonly passwordFile?: string
  /** Run for each connection; prints the password. Replaces `password`. */
  readonly passwordProgram?: readonly string[]
  /** Absent for no encryption. */
  readonly tls?: {
    /** PEM file; absent for the authorities that Node.js ships with. */
    readonly caFile?: string
    /** PEM files of a client certificate and its key. */
    readonly certificateFile?: string
    readonly privateKeyFile?: string
    /** Name that the server's certificate must have; absent for the host of the connection. */
    readonly serverName?: string
  }
}

/** An address with the current contents of its files. */
export interface PostgresTarget {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Absent for no encryption, which is allowed on loopback only. */
  readonly tls?: Pick<ConnectionOptions, 'ca' | 'cert' | 'key'> & { readonly serverName?: string }
}

export interface PostgresHost {
  readonly host: string
  readonly port: number
}

/** Returns the hosts of a list such as `db1,db2:5433,[fd00::1]:5434`, in order. */
export function parseHosts(list: string, port: number): readonly PostgresHost[] {
  return list
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => {
      const [, bracketed, plain, own] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? []
      // An IPv6 address without brackets contains colons and has no port.
      const host = bracketed ?? plain ?? text
      return { host, port: own === undefined ? port : Number(own) }
    })
}

/** @throws StorageError STORE_UNREACHABLE if a file cannot be read or a program fails */
export async function loadTarget(address: PostgresAddress): Promise<PostgresTarget> {
  const { host, port, database, user, tls } = address
  const password = await loadPassword(address)
  return {
    ...{ host, port, database, user },
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls: await loadTls(tls) }),
  }
}

async function loadPassword(address: PostgresAddress): Promise<Secret | undefined> {
  const { password, passwordFile, passwordProgram } = address
  if (passwordFile !== undefined) return new Secret(await readLine(passwordFile))
  if (passwordProgram === undefined) return password
  const result = await runProgram(passwordProgram)
  if ('problem' in result)
    throw new StorageError(
      'STORE_UNREACHABLE',
      `no connection to the store: no password, because ${result.problem}`,
    )
  return new Secret(result.output.replace(/\r?\n$/, ''))
}

async function loadTls(
  tls: NonNullable<PostgresAddress['tls']>,
): Promise<NonNullable<PostgresTarget['tls']>> {
  const load = async (name: 'ca' | 'cert' | 'key', path: string | undefined) =>
    path === undefined ? {} : { [name]: await readPem(path) }
  return {
    ...(tls.serverName === undefined ? {} : { serverName: tls.serverName }),
    ...(await load('ca', tls.caFile)),
    ...(await load('cert', tls.certificateFile)),
    ...(await load('key', tls.privateKeyFile)),
  }
}

/** OpenSSL would skip a block that follows a byte order mark. */
async function readPem(path: string): Promise<Buffer> {
  const bytes = await read(path)
  return bytes.toString('latin1', 0, 3) === '\xef\xbb\xbf' ? bytes.subarray(3) : bytes
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
