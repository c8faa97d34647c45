/** Signing keys: derived once per credential, day, region and service, then kept. */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../core/secret.ts'
import type { CredentialScope } from './authorization-header.ts'
import type { Credential } from './credential.ts'
import { hmacSha256, HmacSha256 } from './digest.ts'

/** XKS 1.0.3, Appendix A, Task 3: four chained HMACs. */
export function deriveSigningKey(secretAccessKey: Secret, scope: CredentialScope): HmacSha256 {
  const dateKey = hmacSha256(`AWS4${secretAccessKey.reveal()}`, scope.date)
  const regionKey = hmacSha256(dateKey, scope.region)
  const serviceKey = hmacSha256(regionKey, scope.service)
  return new HmacSha256(hmacSha256(serviceKey, 'aws4_request'))
}

/** A credential has few scopes alive at a time: two days around midnight, a handful of regions. */
const MAX_SCOPES = 64

interface Kept {
  readonly keys: Map<string, HmacSha256>
  /** Of the last request: its scope is the same object for as long as the header was. */
  lastScope?: CredentialScope
  lastKey?: HmacSha256
}

/**
 * Keys hang on the Credential object itself, so they go when it does: a revoked credential leaves
 * nothing behind, and no secret is ever part of a cache key.
 */
export class SigningKeyCache {
  readonly #byCredential = new WeakMap<Credential, Kept>()

  get(credential: Credential, scope: CredentialScope): HmacSha256 {
    let kept = this.#byCredential.get(credential)
    if (kept === undefined) this.#byCredential.set(credential, (kept = { keys: new Map() }))
    if (kept.lastScope === scope && kept.lastKey !== undefined) return kept.lastKey
    const key = findKey(kept.keys, credential, scope)
    kept.lastScope = scope
    kept.lastKey = key
    return key
  }
}

function findKey(
  keys: Map<string, HmacSha256>,
  credential: Credential,
  scope: CredentialScope,
): HmacSha256 {
  const name = `${scope.date}/${scope.region}/${scope.service}`
  const cached = keys.get(name)
  if (cached !== undefined) return cached
  const key = deriveSigningKey(credential.secretAccessKey, scope)
  if (keys.size >= MAX_SCOPES) keys.clear()
  keys.set(name, key)
  return key
}
