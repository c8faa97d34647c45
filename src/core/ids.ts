/** Branded identifiers: only the parsers below create values of these types. */
// SPDX-License-Identifier: Apache-2.0

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

export type ExternalKeyId = Branded<'ExternalKeyId'>
export type KeyStoreName = Branded<'KeyStoreName'>
export type AccessKeyId = Branded<'AccessKeyId'>

/**
 * Accepts 1 to 128 characters of A-Z, a-z, 0-9, hyphen, period and underscore (XKS 1.0.3, API
 * operations). Refuses `.` and `..`, because clients and intermediaries resolve them as path
 * segments.
 */
export function parseExternalKeyId(text: string): ExternalKeyId | undefined {
  if (!/^[A-Za-z0-9._-]{1,128}$/.test(text) || text === '.' || text === '..') return undefined
  return text as ExternalKeyId
}

/**
 * The operator's name for a key store, used in the configuration, the log and the metrics: 1 to 64
 * characters.
 */
export function parseKeyStoreName(text: string): KeyStoreName | undefined {
  return /^[a-z0-9][a-z0-9-]{0,63}$/.test(text) ? (text as KeyStoreName) : undefined
}

/** Accepts 20 to 30 characters of A-Z and 2-7 (XKS 1.0.3, Appendix A). */
export function parseAccessKeyId(text: string): AccessKeyId | undefined {
  return /^[A-Z2-7]{20,30}$/.test(text) ? (text as AccessKeyId) : undefined
}
