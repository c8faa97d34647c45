/** Maps PostgreSQL errors to our codes, and decides whether a new connection would help. */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type StorageErrorCode } from '../database.ts'

interface Meaning {
  /** SQLSTATE code or its two-character class (PostgreSQL, Appendix A). */
  readonly state: string
  readonly code: StorageErrorCode
  /** Explains an unfamiliar code to the operator. */
  readonly text?: string
  readonly hint?: string
}

/** The first matching row applies. */
const MEANINGS: readonly Meaning[] = [
  {
    state: '53300',
    code: 'STORE_BUSY',
    text: 'too many connections',
    hint: 'close unneeded connections, raise max_connections, or use the admin listener, which already has a connection open',
  },
  { state: '53100', code: 'STORE_BUSY', text: "the server's disk is full" },
  { state: '53200', code: 'STORE_BUSY', text: 'the server is out of memory' },
  {
    state: '28P01',
    code: 'STORE_FAILED',
    text: 'the password was refused',
    hint: 'compare store.postgres.user and store.postgres.password with the role on the server',
  },
  {
    state: '28',
    code: 'STORE_FAILED',
    text: 'the login was refused',
    hint: 'check pg_hba.conf on the server, and the certificate and user in store.postgres',
  },
  {
    state: '3D000',
    code: 'STORE_MISSING',
    text: 'the database does not exist',
    hint: "create it: CREATE DATABASE name OWNER role ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0",
  },
  {
    state: '25006',
    code: 'STORE_UNREACHABLE',
    text: 'the server is read-only: a standby, or a former primary',
    hint: 'set store.postgres.host to the primary, or to a list of all servers',
  },
  {
    state: '42501',
    code: 'STORE_FAILED',
    text: 'the role lacks a privilege on the tables',
    hint: 'run latchkey init --if-absent --owner ROLE as the owner of the tables, to upgrade them and grant access to the role in store.postgres.user; or make that role the owner',
  },
  {
    state: '22P05',
    code: 'TEXT_REFUSED',
    text: 'the database encoding cannot represent a character in this text',
  },
  {
    state: '22021',
    code: 'TEXT_REFUSED',
    text: 'the database cannot store a character in this text',
  },
  { state: '23', code: 'CONFLICT' },
  { state: '55P03', code: 'STORE_BUSY', text: 'another writer holds the lock' },
  { state: '40', code: 'STORE_BUSY', text: 'a concurrent transaction interfered' },
  {
    state: '53',
    code: 'STORE_BUSY',
    text: 'the server is out of resources, such as memory, disk space or connections',
  },
  { state: '57014', code: 'STORE_TIMEOUT', text: 'the statement was cancelled' },
  { state: '25P03', code: 'STORE_TIMEOUT', text: 'the transaction was idle for too long' },
  { state: 'XX001', code: 'STORE_CORRUPT', text: 'data corrupted' },
  { state: 'XX002', code: 'STORE_CORRUPT', text: 'index corrupted' },
  { state: '57P03', code: 'STORE_UNREACHABLE', text: 'the server is starting or stopping' },
  { state: '57P', code: 'STORE_UNREACHABLE', text: 'the server ended the connection' },
  { state: '08', code: 'STORE_UNREACHABLE', text: 'the connection failed' },
]

/** The driver's error message for a server that answers the TLS request with N. */
const NO_TLS_THERE = 'The server does not support SSL connections'

/** TLS failures, by their Node.js and OpenSSL codes. */
const TLS_MEANINGS = [
  {
    codes: /^(SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|UNABLE_TO_)/,
    text: "no trusted authority issued the server's certificate",
    hint: 'set store.postgres.tls.ca to a PEM file with the authority and its intermediates',
  },
  {
    codes: /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    text: "the server's certificate is for another name",
    hint: 'use that name in store.postgres.host, or set store.postgres.tls.serverName',
  },
  {
    codes: /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/,
    text: "the server's certificate has expired or is not valid yet",
    hint: "renew the server's certificate, and compare the clocks",
  },
  {
    codes: /^ERR_SSL_.*ALERT/,
    text: 'the server refused the TLS handshake',
    hint: 'compare store.postgres.tls.certificate with ssl_ca_file and clientcert in pg_hba.conf on the server',
  },
] as const

/**
 * Errors in the statement itself, after which the connection is still usable. After any other error
 * the connection is dropped: it may lead to the wrong server, or be in a state that no statement
 * can repair.
 */
const OF_STATEMENT = /^(2[0123]|40|42|44|54|55P03$|57014$)/

export function toStorageError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  const state = sqlState(error)
  if (state !== undefined) {
    const meaning = MEANINGS.find((one) => state.startsWith(one.state))
    const text = meaning?.text === undefined ? '' : ` (${meaning.text})`
    return new StorageError(
      meaning?.code ?? 'STORE_FAILED',
      `the store failed: SQLSTATE ${state}${text}`,
      { cause: error, ...(meaning?.hint === undefined ? {} : { hint: meaning.hint }) },
    )
  }
  // The server did not send this error: it is a system error such as ECONNREFUSED, a TLS failure,
  // or a closed connection.
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  const meaning =
    typeof code === 'string' ? TLS_MEANINGS.find((one) => one.codes.test(code)) : undefined
  const text = meaning === undefined ? '' : ` (${meaning.text})`
  return new StorageError(
    'STORE_UNREACHABLE',
    `cannot connect to the store${typeof code === 'string' ? `: ${code}${text}` : ''}`,
    { cause: error, ...(meaning === undefined ? {} : { hint: meaning.hint }) },
  )
}

/** Adds an explanation if the server may have refused the login because only one side uses TLS. */
export function toLoginError(error: unknown, usesTls: boolean): StorageError {
  const known = toStorageError(error)
  if (usesTls) {
    if (!(error instanceof Error) || error.message !== NO_TLS_THERE) return known
    return new StorageError(
      'STORE_UNREACHABLE',
      'cannot connect to the store: the server does not support TLS',
      {
        cause: error,
        hint: 'enable TLS on the server with ssl = on and ssl_cert_file in postgresql.conf; with store.postgres.tls.mode: off, everything is sent unencrypted',
      },
    )
  }
  // The routine name is compared, because PostgreSQL localizes its messages.
  const byRules = sqlState(error) === '28000' && routine(error) === 'ClientAuthentication'
  const byPooler = error instanceof Error && error.message === 'SSL required'
  if (!byRules && !byPooler) return known
  return new StorageError(known.code, `${known.message}, and the connection does not use TLS`, {
    cause: error,
    hint: 'the server may accept only TLS connections (hostssl in pg_hba.conf, rds.force_ssl): remove store.postgres.tls.mode: off',
  })
}

/** Reports whether the server or the role has run out of connections. */
export function hasNoConnectionLeft(error: StorageError): boolean {
  return sqlState(error.cause) === '53300'
}

/** Reports whether recovery requires a new connection. */
export function belongsToConnection(error: StorageError): boolean {
  const state = sqlState(error.cause)
  return state === undefined ? error.code === 'STORE_UNREACHABLE' : !OF_STATEMENT.test(state)
}

/**
 * Returns undefined if the error did not come from the server. System errors such as EPIPE look
 * like SQLSTATE codes except that they begin with E.
 */
export function sqlState(error: unknown): string | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^[0-9A-DF-Z][0-9A-Z]{4}$/.test(code) ? code : undefined
}

function routine(error: unknown): unknown {
  return error instanceof Error && 'routine' in error ? error.routine : undefined
}

export function late(): StorageError {
  return new StorageError('STORE_TIMEOUT', 'the store did not respond in time')
}

export function closed(): StorageError {
  return new StorageError('STORE_CLOSED', 'the store is closed')
}
