/**
 * Connects to the first host that accepts writes. Names are resolved and files are read each time.
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
  /** Deadline in milliseconds for opening a connection, regardless of the number of hosts. */
  readonly deadlineMs: number
  /**
   * Session settings at the start. A transaction pooler refuses them, and the session then
   * continues without them.
   */
  readonly settings: Readonly<Record<string, string>>
}

export interface Dialled {
  readonly client: pg.Client
  /** Whether the session is shared with others and therefore has none of the settings. */
  readonly isPooled: boolean
}

export interface Dial {
  readonly ready: Promise<Dialled>
  /** Ends all attempts, even after `ready` has resolved. */
  abort(): void
}

/** When a host answers slowly, the next one is tried before the first has failed. */
const STAGGER_MS = 250
const KEEPALIVE_MS = 5000
/**
 * PostgreSQL, Appendix A, protocol_violation: a transaction pooler's answer to session settings.
 */
const REFUSED_SETTINGS = '08P01'

/**
 * SQL for the value of synchronous_commit. The default of a role or a database can be `off`; a crash
 * could then lose a confirmed switch. `remote_apply` is stricter than `on`, and stays.
 */
export const DURABLE_COMMIT =
  "CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END"

/** int8 becomes a number: all stored values are below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (id, format) =>
    id === pg.types.builtins.INT8
      ? Number
      : (pg.types.getTypeParser(id, format) as (text: string) => unknown),
}

/**
 * Works like libpq with `target_session_attrs=read-write`: selects the first host in the list that
 * accepts writes.
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

  /** Tries every address of the name, because a name can stand for all servers of a cluster. */
  async function dialHost(target: PostgresTarget, { host, port }: PostgresHost): Promise<Dialled> {
    // A path names the folder of a Unix socket.
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
    // A failing client also emits this event, and without a listener the event would end the
    // process.
    client.on('error', () => undefined)
    try {
      await client.connect()
      // Settings of a pooled connection are set for each transaction instead (session.ts).
      const isOwn = Object.keys(settings).length > 0
      const durability = isOwn ? `, set_config('synchronous_commit', ${DURABLE_COMMIT}, false)` : ''
      const { rows } = await client.query<{ read_only: string }>(
        `SELECT current_setting('transaction_read_only') AS read_only${durability}`,
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
    // pg connects to an address, so Node would check the certificate against the address instead of
    // the name.
    checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate),
    ...(isIP(name) === 0 ? { servername: name } : {}),
  }
}

interface Attempt<T> {
  readonly name: string
  readonly attempt: () => Promise<T>
}

/**
 * Resolves to the first success. An attempt starts when the previous one has failed or has been
 * silent for a while.
 * @param discard called with a success that arrives too late
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
      // The next attempt need not wait for this one; the deadline belongs to the statement that
      // needs a connection.
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

/** Prefers an error from a server over a failed connection. */
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
 * `end` would wait for a server that does not answer. pg's types cover only the public half of the
 * stream.
 */
export function destroySocket(client: pg.Client): void {
  const { connection } = client as unknown as {
    readonly connection?: { readonly stream?: { destroy(): void } }
  }
  connection?.stream?.destroy()
}
