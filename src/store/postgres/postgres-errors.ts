/** What PostgreSQL and the way to it say, as our codes: by SQLSTATE, since messages can quote values. */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type StorageErrorCode } from '../database.ts'

/** PostgreSQL, Appendix A: the whole code, or its class of two characters. */
const CODES: readonly (readonly [prefix: string, code: StorageErrorCode])[] = [
  ['23', 'CONFLICT'],
  ['55P03', 'STORE_BUSY'],
  ['40', 'STORE_BUSY'],
  ['53', 'STORE_BUSY'],
  ['57014', 'STORE_TIMEOUT'],
  ['25P03', 'STORE_TIMEOUT'],
  ['3D000', 'STORE_MISSING'],
  ['XX001', 'STORE_CORRUPT'],
  ['XX002', 'STORE_CORRUPT'],
  ['57P', 'STORE_UNREACHABLE'],
  ['08', 'STORE_UNREACHABLE'],
]

export function toStorageError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  const given: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  const state = typeof given === 'string' ? given : ''
  if (/^[0-9A-Z]{5}$/.test(state) && !state.startsWith('E')) {
    const code = CODES.find(([prefix]) => state.startsWith(prefix))?.[1] ?? 'STORE_FAILED'
    return new StorageError(code, `the store failed: SQLSTATE ${state}`)
  }
  // A system error such as ECONNREFUSED, a failure of TLS, or a connection that ended.
  return new StorageError(
    'STORE_UNREACHABLE',
    `no connection to the store${state === '' ? '' : `: ${state}`}`,
    { cause: error },
  )
}
