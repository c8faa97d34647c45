/** Parses strict standard Base64 (RFC 4648, section 4), the only form that XKS 1.0.3 allows. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Returns the bytes of `text`, or undefined if it contains white space or characters of the
 * URL-safe alphabet, has missing or surplus padding, or has non-zero bits after the last byte. Node
 * decodes all of those. Comparing `text` with the re-encoded bytes finds every such case, and
 * proves that no two accepted strings decode to the same bytes.
 */
export function parseBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
