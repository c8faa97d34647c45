/** Reads fields from KMS's JSON 1.1 requests and writes paginated lists. */
// SPDX-License-Identifier: Apache-2.0
import type { KmsStandIn } from '../emulator.ts'
import { KmsException } from '../proxy-failure.ts'
import type { KmsCaller } from '../request-metadata.ts'

export type Json = Readonly<Record<string, unknown>>

/**
 * One operation of the KMS API. It converts the request's JSON to arguments for the emulator, and
 * converts the result back to JSON.
 */
export type Operation = (kms: KmsStandIn, input: Json, caller: KmsCaller) => Promise<Json> | Json

export function optional(input: Json, name: string): string | undefined {
  const value = input[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** @throws KmsException ValidationException */
export function text(input: Json, name: string): string {
  const value = optional(input, name)
  if (value !== undefined) return value
  const field = name.charAt(0).toLowerCase() + name.slice(1)
  throw new KmsException(
    'ValidationException',
    `1 validation error detected: Value null at '${field}' failed to satisfy constraint: Member must not be null`,
  )
}

export const bytes = (input: Json, name: string) => Buffer.from(text(input, name), 'base64')
export const base64 = (value: Buffer) => value.toString('base64')
export const seconds = (milliseconds: number) => milliseconds / 1000

export function context(input: Json, name = 'EncryptionContext'): Readonly<Record<string, string>> {
  return (input[name] ?? {}) as Readonly<Record<string, string>>
}

const PAGE = 50

/** @param pageSize maximum number of entries per page, unless the request's Limit is lower */
export function toPage(
  name: string,
  all: readonly Json[],
  input: Json,
  pageSize: number = PAGE,
): Json {
  const start = Number(optional(input, 'Marker') ?? 0)
  const limit = input['Limit']
  const end = start + Math.min(pageSize, typeof limit === 'number' ? limit : pageSize)
  return {
    [name]: all.slice(start, end),
    Truncated: end < all.length,
    ...(end < all.length && { NextMarker: String(end) }),
  }
}
