/** Carries a token error from the worker process to the caller. */
// SPDX-License-Identifier: Apache-2.0
import { BackendError, type BackendErrorCode } from '../../errors.ts'
import { CKR_GROUPS, type CkrAction, type CkrTreatment } from './ckr.ts'
import { ProtocolError } from './protocol.ts'

export type Direction = 'encrypt' | 'decrypt'

/**
 * Wire form of the error. It contains only fixed sentences, call names and codes, and no text from
 * a module.
 */
export interface WireFailure {
  readonly code: BackendErrorCode
  readonly message: string
  readonly hint?: string
  /** The recovery that was attempted; absent if no module call failed. */
  readonly recovery?: CkrAction
}

const CODES: Readonly<Record<BackendErrorCode, true>> = {
  ...{ KEY_NOT_FOUND: true, KEY_DISABLED: true, KEY_USAGE: true, KEY_EXHAUSTED: true },
  ...{ KEY_NOT_ACTIVE: true, KEY_DEACTIVATED: true, KEY_DATES_INVALID: true },
  ...{
    KEY_EXISTS: true,
    KEY_REPLACED: true,
    VERSION_NOT_FOUND: true,
    VERSION_RETIRED: true,
    INTEGRITY_FAILURE: true,
    LIMIT_EXCEEDED: true,
  },
  ...{ BUSY: true, TIMEOUT: true, UNAVAILABLE: true, MISCONFIGURED: true, CONTRACT: true },
}
const ACTIONS: Readonly<Record<CkrAction, true>> = {
  ...{
    drop: true,
    probe: true,
    refind: true,
    retry: true,
    relogin: true,
    reinitialize: true,
    stop: true,
  },
}
const MAX_SENTENCE = 4000

/** @throws ProtocolError unless the text is a WireFailure */
export function parseFailure(text: string): WireFailure {
  const value: unknown = JSON.parse(text)
  const { code, message, hint, recovery } = (value ?? {}) as Readonly<Record<string, unknown>>
  const isSentence = (one: unknown) => typeof one === 'string' && one.length <= MAX_SENTENCE
  const isOneOf = (table: object, one: unknown) =>
    typeof one === 'string' && Object.hasOwn(table, one)
  const fits =
    isOneOf(CODES, code) &&
    isSentence(message) &&
    (hint === undefined || isSentence(hint)) &&
    (recovery === undefined || isOneOf(ACTIONS, recovery))
  if (!fits) throw new ProtocolError('received a failure in an unknown format')
  return value as WireFailure
}

/** A final error, which either the worker detected itself or resulted from a failed call. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure'
  readonly wire: WireFailure

  constructor(
    code: BackendErrorCode,
    message: string,
    rest: { readonly hint?: string; readonly recovery?: CkrAction } = {},
  ) {
    super(message)
    this.wire = { code, message, ...rest }
  }
}

/** A module call that returned a code other than CKR_OK. */
export class CkrFailure extends Error {
  override readonly name = 'CkrFailure'
  readonly row: CkrRow
  readonly call: string

  constructor(call: string, code: number) {
    const row = toRowOf(call, toCkrRow(code))
    super(`${call} returned ${row.name}`)
    this.row = row
    this.call = call
  }
}

/** Calls that take a key but no data. */
const WITHOUT_DATA: ReadonlySet<string> = new Set(['C_EncryptInit', 'C_DecryptInit'])

/**
 * A call without data cannot fail because of the data. For a destroyed key, such a call returns
 * CKR_GENERAL_ERROR in Kryoptic.
 */
function toRowOf(call: string, row: CkrRow): CkrRow {
  if (row.recovery !== 'probe' || !WITHOUT_DATA.has(call)) return row
  return { ...row, recovery: 'refind', encrypt: 'UNAVAILABLE', decrypt: 'UNAVAILABLE' }
}

/** @param direction column of the table; calls that neither encrypt nor decrypt use `encrypt` */
export function toWire(error: unknown, direction: Direction): WireFailure {
  if (error instanceof WorkerFailure) return error.wire
  if (error instanceof CkrFailure) {
    const { row, message } = error
    return { code: row[direction], message, recovery: row.recovery }
  }
  if (error instanceof ProtocolError) return { code: 'LIMIT_EXCEEDED', message: error.message }
  // Any other error, such as a TypeError in the binding, is a bug in Latchkey. Its text may contain
  // arguments.
  return { code: 'CONTRACT', message: 'internal error in the PKCS#11 worker' }
}

export function toBackendError({ code, message, hint }: WireFailure): BackendError {
  // Use the same message for every cause, because which call fails depends on the module.
  if (code === 'INTEGRITY_FAILURE')
    return new BackendError(code, 'the ciphertext failed authentication')
  return new BackendError(code, message, hint === undefined ? {} : { hint })
}

interface CkrRow extends CkrTreatment {
  readonly name: string
  readonly code: number
}

/** Table rows by code. */
export const CKR: ReadonlyMap<number, CkrRow> = new Map(
  CKR_GROUPS.flatMap(({ codes, ...rest }) =>
    Object.entries(codes).map(([name, code]) => [code, { name, code, ...rest }] as const),
  ),
)

const VENDOR_DEFINED = 0x8000_0000

/**
 * Returns the table row for a return code. A vendor-defined code uses the row for
 * CKR_VENDOR_DEFINED, but keeps its own number.
 */
export function toCkrRow(code: number): CkrRow {
  const row = CKR.get(code) ?? CKR.get(VENDOR_DEFINED)
  if (row === undefined) throw new TypeError('CKR_VENDOR_DEFINED is not in the table')
  return row.code === code ? row : { ...row, code, name: `CKR_0x${code.toString(16)}` }
}
