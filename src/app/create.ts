/** From an entry of `backends` to what it names. Loaded only when it is used: most have no HSM. */
// SPDX-License-Identifier: Apache-2.0
import type { Pkcs11Keys, Pkcs11KeysDeps } from '../keys/pkcs11/pkcs11-keys.ts'

/** @throws BackendError MISCONFIGURED, also where pkcs11js is not built */
export async function openBackend(deps: Pkcs11KeysDeps): Promise<Pkcs11Keys> {
  const { openPkcs11Keys } = await import('../keys/pkcs11/pkcs11-keys.ts')
  return openPkcs11Keys(deps)
}
