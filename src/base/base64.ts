/** Strict standard Base64 (RFC 4648, section 4), which is the only one XKS 1.0.3 allows. */
// SPDX-License-Identifier: Apache-2.0

const ALPHABET = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/**
 * Bytes of `text`, or undefined if it has white space, the URL-safe alphabet, missing or surplus
 * padding, or non-zero bits behind the last byte. So what is accepted re-encodes to the same text.
 */
export function parseBase64(text: string): Buffer | undefined {
  if (!ALPHABET.test(text)) return undefined
  const bytes = Buffer.from(text, 'base64')
  if (text.endsWith('=') && bytes.toString('base64') !== text) return undefined
  return bytes
}

/** Bytes that `text` decodes to if it is strict Base64, computed from its length alone. */
export function base64ByteLength(text: string): number {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  return Math.floor(text.length / 4) * 3 - padding
}
