/**
 * Connects to the first host that accepts writes. Names are resolved and files read again for each
 * connection.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { checkServerIdentity, type ConnectionOptions } from 'node:tls'
import pg from 'pg'
import { StorageError } from '../database.ts'
import { parseHosts, type PostgresHost, type PostgresTarget } from './address.ts'
import { sqlState, toLoginError } from './errors.ts'
import { firstOf } from './first-of.ts'

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
  /**
   * The search_path to use, as an SQL literal. Set if the session is shared with other clients, and
   * therefore lacks the initial settings.
   */
  readonly pooledPath?: string
}

export interface Dial {
  readonly ready: Promise<Dialled>
  /** Aborts all attempts, even after `ready` has resolved. */
  abort(): void
}

const KEEPALIVE_MS = 5000
/**
 * SQLSTATE with which a transaction pooler rejects session settings (PostgreSQL, Appendix A,
 * protocol_violation).
 */
const REFUSED_SETTINGS = '08P01'

/**
 * SQL for the synchronous_commit value. A role's or database's default can be `off`, in which case
 * a crash could lose a confirmed switch. `remote_apply` is stricter than `on` and is kept.
 */
export const DURABLE_COMMIT =
  "CASE WHEN pg_catalog.current_setting('synchronous_commit') OPERATOR(pg_catalog.=) 'remote_apply' THEN 'remote_apply' ELSE 'on' END"

/**
 * SQL for the search_path value: only the schema with Latchkey's tables, or the one in which the
 * first migration creates them. In another schema of the path, any role that may create objects
 * there could plant a table, or an operator or a function that runs instead of PostgreSQL's own, as
 * the best match for the types of its operands. This expression itself runs with the role's path, so
 * it contains no operator and no type without its schema. Temporary tables come last; otherwise, one
 * that another client of a pooler created in a shared session would be used first.
 */
const has = (table: string) =>
  `pg_catalog.to_regclass(pg_catalog.concat(pg_catalog.quote_ident(s.name::pg_catalog.text), '.${table}')) IS NOT NULL`
const PATH = `pg_catalog.concat(pg_catalog.quote_ident(coalesce(
  (SELECT s.name::pg_catalog.text
     FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY s(name, place)
     WHERE ${has('facts')} AND ${has('latchkey_schema')} ORDER BY s.place LIMIT 1),
  pg_catalog.current_schema()::pg_catalog.text, 'public')), ', pg_temp')`
/**
 * Name of a setting that identifies a session. Its value reveals a pooler that ignores the initial
 * settings instead of rejecting them.
 */
const SESSION_ID = 'latchkey.session'

interface FoundSession {
  readonly read_only: string
  /** Null if the session did not get the initial settings. */
  readonly id: string | null
  /** The search_path to use, as an SQL literal. */
  readonly path: string
}

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
      return await open(target, host, address, options.settings)
    } catch (error) {
      if (sqlState(error) !== REFUSED_SETTINGS) throw error
      return await open(target, host, address, {})
    }
  }

  async function open(
    { database, user, password, tls }: PostgresTarget,
    { host, port }: PostgresHost,
    address: string,
    settings: DialOptions['settings'],
  ): Promise<Dialled> {
    if (isOver) throw new StorageError('STORE_UNREACHABLE', 'the connection attempt was abandoned')
    const hasSettings = Object.keys(settings).length > 0
    const id = randomUUID()
    const initial: DialOptions['settings'] = hasSettings ? { ...settings, [SESSION_ID]: id } : {}
    const client = new pg.Client({
      ...{ host: address, port, database, user, types, keepAlive: true },
      ...(password === undefined ? {} : { password: password.reveal() }),
      ssl: tls === undefined ? false : toTlsOptions(tls, host),
      keepAliveInitialDelayMillis: KEEPALIVE_MS,
      connectionTimeoutMillis: options.deadlineMs,
      application_name: 'latchkey',
      options: Object.entries(initial)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    })
    clients.add(client)
    // A failing client also emits `error`, which would crash the process if there were no listener.
    client.on('error', () => undefined)
    try {
      await client.connect()
      const { rows } = await client.query<FoundSession>(
        `SELECT pg_catalog.current_setting('transaction_read_only') AS read_only,
           pg_catalog.current_setting('${SESSION_ID}', true) AS id,
           pg_catalog.quote_literal(${PATH}) AS path`,
      )
      const [found] = rows
      if (found === undefined) throw new Error('the server returned no row')
      if (found.read_only === 'on') throw readOnly()
      const { path } = found
      // On a pooled connection, each transaction applies the settings instead (session.ts).
      if (!hasSettings || found.id !== id) return { client, pooledPath: path }
      await client.query(
        `SELECT pg_catalog.set_config('synchronous_commit', ${DURABLE_COMMIT}, false),
           pg_catalog.set_config('search_path', ${path}, false)`,
      )
      return { client }
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
  return Object.assign(new Error('the server does not accept writes'), { code: '25006' })
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
