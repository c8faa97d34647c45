/**
 * Connects to the first host that accepts writes. Names are resolved and files read again for each
 * connection.
 */
// SPDX-License-Identifier: Apache-2.0
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { checkServerIdentity, type ConnectionOptions } from 'node:tls'
import pg from 'pg'
import { StorageError } from '../database.ts'
import { parseHosts, type PostgresHost, type PostgresTarget } from './address.ts'
import { sqlState, toLoginError, toStorageError } from './errors.ts'

export interface DialOptions {
  readonly loadTarget: () => Promise<PostgresTarget>
  /** Connection timeout in milliseconds, for all hosts together. */
  readonly deadlineMs: number
  /**
   * Initial session settings. A transaction pooler rejects them; the session then continues without
   * them.
   */
  readonly settings: Readonly<Record<string, string>>
}

export interface Dialled {
  readonly client: pg.Client
  /** Whether the session is shared with other clients and therefore lacks the initial settings. */
  readonly isPooled: boolean
}

export interface Dial {
  readonly ready: Promise<Dialled>
  /** Aborts all attempts, even after `ready` has resolved. */
  abort(): void
}

/** Delay before the next host is tried in parallel with a slow one. */
const STAGGER_MS = 250
const KEEPALIVE_MS = 5000
/**
 * SQLSTATE with which a transaction pooler rejects session settings (PostgreSQL, Appendix A,
 * protocol_violation).
 */
const REFUSED_SETTINGS = '08P01'

/**
 * SQL for the synchronous_commit value. A role's or database's default can be `off`, so that a
 * crash could lose a confirmed switch. `remote_apply` is stricter than `on` and is kept.
 */
export const DURABLE_COMMIT =
  "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"

/**
 * SQL for the search_path value: only the schema with Latchkey's tables, or the one in which the
 * first migration creates them. In another schema of the path, any role that may create objects
 * there could plant an operator or a function that runs instead of PostgreSQL's own, as the best
 * match for the types of its operands.
 */
const HOME = `pg_catalog.quote_ident(coalesce(
  (SELECT n.nspname::text FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.oid = pg_catalog.to_regclass('facts')::pg_catalog.oid),
  pg_catalog.current_schema()::text, 'public'))`

/** Parses int8 as a number: all stored values are below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (id, format) =>
    id === pg.types.builtins.INT8
      ? Number
      : (pg.types.getTypeParser(id, format) as (text: string) => unknown),
}

/**
 * Selects the first host in the list that accepts writes, like libpq with
 * `target_session_attrs=read-write`.
 */
export function dial(options: DialOptions): Dial {
  const clients = new Set<pg.Client>()
  let isOver = false

  const discard = (client: pg.Client) => {
    clients.delete(client)
    destroySocket(client)
  }

  async function dialHosts(): Promise<Dialled> {
    const target = await options.loadTarget()
    const hosts = parseHosts(target.host, target.port)
    return await firstOf(
      hosts.map((host) => ({ name: host.host, attempt: () => dialHost(target, host) })),
      ({ client }) => {
        discard(client)
      },
    )
  }

  /**
   * Tries every address that the name resolves to, because one name can stand for all servers in a
   * cluster.
   */
  async function dialHost(target: PostgresTarget, { host, port }: PostgresHost): Promise<Dialled> {
    // An absolute path is the directory of a Unix socket.
    const isName = isIP(host) === 0 && !host.startsWith('/')
    const addresses = isName ? await lookup(host, { all: true }) : [{ address: host }]
    return await firstOf(
      addresses.map(({ address }) => ({
        name: address,
        attempt: () => dialAddress(target, { host, port }, address),
      })),
      ({ client }) => {
        discard(client)
      },
    )
  }

  async function dialAddress(
    target: PostgresTarget,
    host: PostgresHost,
    address: string,
  ): Promise<Dialled> {
    try {
      return await openEither(target, host, address)
    } catch (error) {
      throw toLoginError(error, target.tls !== undefined)
    }
  }

  async function openEither(
    target: PostgresTarget,
    host: PostgresHost,
    address: string,
  ): Promise<Dialled> {
    try {
      return { client: await open(target, host, address, options.settings), isPooled: false }
    } catch (error) {
      if (sqlState(error) !== REFUSED_SETTINGS) throw error
      return { client: await open(target, host, address, {}), isPooled: true }
    }
  }

  async function open(
    { database, user, password, tls }: PostgresTarget,
    { host, port }: PostgresHost,
    address: string,
    settings: DialOptions['settings'],
  ): Promise<pg.Client> {
    if (isOver) throw new StorageError('STORE_UNREACHABLE', 'the connection attempt was abandoned')
    const client = new pg.Client({
      ...{ host: address, port, database, user, types, keepAlive: true },
      ...(password === undefined ? {} : { password: password.reveal() }),
      ssl: tls === undefined ? false : toTlsOptions(tls, host),
      keepAliveInitialDelayMillis: KEEPALIVE_MS,
      connectionTimeoutMillis: options.deadlineMs,
      application_name: 'latchkey',
      options: Object.entries(settings)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    })
    clients.add(client)
    // A failing client also emits `error`, which would crash the process if there were no listener.
    client.on('error', () => undefined)
    try {
      await client.connect()
      // On a pooled connection, each transaction applies the settings instead (session.ts).
      const isOwn = Object.keys(settings).length > 0
      const own = `, set_config('synchronous_commit', ${DURABLE_COMMIT}, false),
        set_config('search_path', ${HOME}, false)`
      const { rows } = await client.query<{ read_only: string }>(
        `SELECT current_setting('transaction_read_only') AS read_only${isOwn ? own : ''}`,
      )
      if (rows[0]?.read_only === 'on') throw readOnly()
      return client
    } catch (error) {
      discard(client)
      throw error
    }
  }

  return {
    ready: dialHosts().then((dialled) => {
      isOver = true
      for (const client of clients) if (client !== dialled.client) discard(client)
      return dialled
    }),
    abort() {
      isOver = true
      for (const client of clients) discard(client)
    },
  }
}

function readOnly(): Error {
  return Object.assign(new Error('the server accepts no writes'), { code: '25006' })
}

function toTlsOptions(
  { serverName, ...files }: NonNullable<PostgresTarget['tls']>,
  host: string,
): ConnectionOptions {
  const name = serverName ?? host
  return {
    ...files,
    rejectUnauthorized: true,
    // pg connects to an IP address, so Node.js would check the certificate against the address
    // instead of the host name.
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
    ...(isIP(name) === 0 ? { servername: name } : {}),
  }
}

interface Attempt<T> {
  readonly name: string
  readonly attempt: () => Promise<T>
}

/**
 * Resolves to the first success. Each attempt starts once the previous one has failed or has not
 * responded within the stagger delay.
 * @param discard called with any success that arrives too late
 */
function firstOf<T>(attempts: readonly Attempt<T>[], discard: (late: T) => void): Promise<T> {
  const [only] = attempts
  if (only !== undefined && attempts.length === 1) return only.attempt()
  return new Promise((resolve, reject) => {
    const failures: { readonly name: string; readonly error: StorageError }[] = []
    let next = 0
    let isSettled = false
    let timer: NodeJS.Timeout | undefined

    function begin(): void {
      clearTimeout(timer)
      const one = attempts[next]
      if (one === undefined || isSettled) return
      next += 1
      // The next attempt does not wait for this one to end. This delay is not a deadline; the
      // statement that needs the connection has one.
      timer = setTimeout(begin, STAGGER_MS)
      one.attempt().then(
        (value) => {
          if (isSettled) {
            discard(value)
            return
          }
          isSettled = true
          clearTimeout(timer)
          resolve(value)
        },
        (error: unknown) => {
          failures.push({ name: one.name, error: toStorageError(error) })
          if (failures.length === attempts.length) {
            clearTimeout(timer)
            reject(summarize(failures))
          } else begin()
        },
      )
    }
    begin()
    if (attempts.length === 0) {
      reject(
        new StorageError('STORE_UNREACHABLE', 'no connection to the store: no host is configured'),
      )
    }
  })
}

/**
 * Combines the failures into one error. An error that a server returned takes precedence over a
 * failed connection.
 */
function summarize(failures: readonly { readonly name: string; readonly error: StorageError }[]) {
  const said = failures.find(({ error }) => sqlState(error.cause) !== undefined) ?? failures[0]
  const { code, hint } = said?.error ?? { code: 'STORE_UNREACHABLE', hint: undefined }
  return new StorageError(
    code,
    `no usable server for the store: ${failures.map(({ name, error }) => `${name}: ${error.message}`).join('; ')}`,
    { cause: said?.error.cause, ...(hint === undefined ? {} : { hint }) },
  )
}

/**
 * `end` would wait for a server that does not respond. pg's types do not cover the socket's
 * `destroy`.
 */
export function destroySocket(client: pg.Client): void {
  const { connection } = client as unknown as {
    readonly connection?: { readonly stream?: { destroy(): void } }
  }
  connection?.stream?.destroy()
}
