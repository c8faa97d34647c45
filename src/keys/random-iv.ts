/**
 * Initialization vectors for AES-GCM, drawn from the kernel for each encryption. OpenSSL keeps the state of its generator in this
 * process, so a virtual machine that is resumed twice from one snapshot would use the same vectors twice. The kernel learns of a
 * resume and reseeds (docs/security.md has the conditions). A read takes 1.5 µs; drawing ahead would save 1 % of a request.
 */
// SPDX-License-Identifier: Apache-2.0
import { openSync, readSync } from 'node:fs'

/** NIST SP 800-38D, 8.2.2: 96 random bits. */
export const IV_BYTES = 12

/** Never closed, so that no limit on open files can take it away. */
let device: number | undefined

/** Returns 12 random bytes that were drawn during this call. @throws a system error, and then nothing may be encrypted */
export function drawIv(): Buffer {
  device ??= openSync('/dev/urandom', 'r')
  const iv = Buffer.allocUnsafe(IV_BYTES)
  if (readSync(device, iv, 0, IV_BYTES, null) !== IV_BYTES)
    throw new Error('the kernel returned too few random bytes')
  return iv
}
