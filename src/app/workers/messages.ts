/**
 * Messages between the primary process and its workers, and the serialization of errors between
 * them.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type StorageErrorCode } from '../../store/database.ts'

/** Calls that the primary makes to a worker. Each gets one response. */
export type CallName = 'start' | 'serve' | 'ready' | 'reload' | 'apply' | 'metrics' | 'stop'

export type ToWorker =
  | { readonly kind: 'call'; readonly id: number; readonly name: CallName; readonly input: unknown }
  | { readonly kind: 'signal'; readonly signal: NodeJS.Signals }

export type FromWorker =
  | { readonly kind: 'hello' } // the worker's handlers are in place
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly error: PackedError }
  /** A new value of the `fault` of the worker's store; undefined once an audit has passed. */
  | { readonly kind: 'fault'; readonly fault: PackedFault | undefined }

/** A serialized `Store.fault`. */
export interface PackedFault {
  readonly code: StorageErrorCode
  readonly message: string
}

/** A serialized error. Structured cloning would keep only the error's message. */
export interface PackedError {
  readonly message: string
  readonly stack: string | undefined
  /**
   * `code`, `hint`, `faults`, and any other fields that determine the message and the exit code.
   */
  readonly fields: Readonly<Record<string, unknown>>
}

export function packError(thrown: unknown): PackedError {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown))
  const fields: Record<string, unknown> = { name: error.name }
  for (const [name, value] of Object.entries(error)) {
    if (name !== 'cause' && isPlain(value)) fields[name] = value
  }
  return { message: error.message, stack: error.stack, fields }
}

export function packFault({ code, message }: StorageError): PackedFault {
  return { code, message }
}

/** Returns the fault of the store because of which a worker could not start, if that is the reason. */
export function toFault(error: unknown): PackedFault | undefined {
  const { code, message } = error instanceof Error ? (error as Partial<StorageError>) : {}
  if (code !== 'STORE_TAMPERED' && code !== 'STORE_CORRUPT') return undefined
  return { code, message: message ?? '' }
}

export function unpackFault({ code, message }: PackedFault): StorageError {
  return new StorageError(code, message)
}

export function unpackError({ message, stack, fields }: PackedError): Error {
  return Object.assign(new Error(message), stack === undefined ? {} : { stack }, fields)
}

/** Reports whether every serialization preserves the value. */
function isPlain(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) {
    const prototype: unknown = Object.getPrototypeOf(value)
    const isData = Array.isArray(value) || prototype === Object.prototype || prototype === null
    return isData && Object.values(value).every(isPlain)
  }
  return typeof value !== 'function' && typeof value !== 'symbol'
}
