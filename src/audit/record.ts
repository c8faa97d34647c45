/**
 * Encodes audit log entries as canonical JSON (RFC 8785), so that an auditor can reproduce every
 * byte. Entries are built field by field, and there is no field for plaintext, ciphertext or AAD.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { type Json, toCanonicalJson } from '../core/signature.ts'

export type Outcome = 'allowed' | 'refused' | 'failed'

/** An entry as read from a log. Its `kind` determines which fields it has. */
export interface AuditEntry {
  readonly kind: 'start' | 'request' | 'recovered' | 'stop' | 'event'
  readonly seq?: number
  /** ISO 8601, UTC. */
  readonly time?: string
  readonly outcome?: Outcome
  readonly [field: string]: Json | undefined
}

/** Encodes an entry about the log itself. */
export function encodeMark(
  kind: 'start' | 'stop' | 'recovered',
  fields: Readonly<Record<string, Json>>,
): string {
  return toCanonicalJson({ ...fields, kind })
}

/** Returns the entry encoded in these bytes; undefined if they are not in canonical form. */
export function decodeEntry(bytes: Buffer): AuditEntry | undefined {
  const text = bytes.toString('utf8')
  try {
    const value = JSON.parse(text) as AuditEntry | null
    const isEntry = typeof value === 'object' && typeof value?.kind === 'string'
    return isEntry && toCanonicalJson(value) === text ? value : undefined
  } catch {
    return undefined
  }
}

/** Returns a field as text, or an empty string if it is absent. */
export function fieldOf(entry: AuditEntry, name: string): string {
  const value = entry[name]
  if (value === undefined) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** The parts of a ciphertext, which an Encrypt request returns and a Decrypt request contains. */
export interface SealedParts {
  readonly iv: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
}

/** Reused buffer, because Buffer.concat would take a fifth of the time of the hash. */
const sealedInput = Buffer.alloc(8192)

/**
 * Returns a hash that links an Encrypt request to the Decrypt requests for its output. The hash
 * also covers the initialization vector and tag, because a short plaintext's ciphertext could be
 * guessed on its own.
 */
export function hashSealed({ iv, ciphertext, tag }: SealedParts): string {
  const length = iv.length + ciphertext.length + tag.length
  if (length > sealedInput.length) {
    return hash('sha256', Buffer.concat([iv, ciphertext, tag]), 'hex')
  }
  sealedInput.set(iv)
  sealedInput.set(ciphertext, iv.length)
  sealedInput.set(tag, iv.length + ciphertext.length)
  return hash('sha256', sealedInput.subarray(0, length), 'hex')
}
