/**
 * A PostgreSQL server's address and login. The files and programs that provide secrets and
 * certificates are read or run for every connection.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type { ConnectionOptions } from 'node:tls'
import { runProgram } from '../../core/program.ts'
import { Secret } from '../../core/secret.ts'
import { StorageError } from '../database.ts'

export interface PostgresAddress {
  /** One host or a comma-separated list in libpq's format, each host with an optional `:port`. */
  readonly host: string
  /** Port for hosts that do not specify one. */
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /**
   * File that contains the password. It is read for each connection, so that a rotated password
   * needs no restart. Used instead of `password`.
   */
  readonly passwordFile?: string
  /**
   * Program that prints the password. It is run for each connection. Used instead of `password`.
   */
  readonly passwordProgram?: readonly string[]
  /** Absent if the connection is not encrypted. */
  readonly tls?: {
    /** PEM file of certificate authorities (default: those that ship with Node.js). */
    readonly caFile?: string
    /** PEM files containing a client certificate and its key. */
    readonly certificateFile?: string
    readonly privateKeyFile?: string
    /** Name that the server's certificate must contain (default: the host being connected to). */
    readonly serverName?: string
  }
}

/** An address together with the current contents of its files. */
export interface PostgresTarget {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Absent if the connection is not encrypted, which is allowed on loopback only. */
  readonly tls?: Pick<ConnectionOptions, 'ca' | 'cert' | 'key'> & { readonly serverName?: string }
}

export interface PostgresHost {
  readonly host: string
  readonly port: number
}

/** Parses a host list such as `db1,db2:5433,[fd00::1]:5434`, keeping its order. */
export function parseHosts(list: string, port: number): readonly PostgresHost[] {
  return list
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '')
    .map((text) => {
      const [, bracketed, plain, own] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? []
      // An IPv6 address without brackets contains colons but no port.
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
      `cannot connect to the store: cannot get the password: ${result.problem}`,
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

/**
 * Reads a file without its byte order mark, because OpenSSL skips a PEM block that follows a byte
 * order mark.
 */
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
      `cannot connect to the store: cannot read ${path} (${String(code)})`,
      { cause },
    )
  }
}
