/** Parses strict standard Base64 (RFC 4648, section 4), the only form that XKS 1.0.3 allows. */
// SPDX-License-Identifier: Apache-2.0

/**
 * Returns the bytes of `text`, or undefined if it has white space, the URL-safe alphabet, missing
 * or surplus padding, or non-zero bits after the last byte. Node decodes all of those. Comparing
 * the text with the re-encoded bytes finds every such case, and proves that no two accepted texts
 * mean the same.
 */
export function parseBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
