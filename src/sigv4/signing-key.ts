/** Signing keys: derived once per credential, day, region and service, then kept. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'
import { equalBytes } from '../core/constant-time.ts'
import type { Secret } from '../core/secret.ts'
import type { CredentialScope } from './authorization-header.ts'
import type { Credential } from './credential.ts'

/** XKS 1.0.3, Appendix A, Task 3: four chained HMACs. */
export function deriveSigningKey(secretAccessKey: Secret, scope: CredentialScope): SigningKey {
  const dateKey = hmacSha256(`AWS4${secretAccessKey.reveal()}`, scope.date)
  const regionKey = hmacSha256(dateKey, scope.region)
  const serviceKey = hmacSha256(regionKey, scope.service)
  return new SigningKey(hmacSha256(serviceKey, 'aws4_request'))
}

export class SigningKey {
  readonly #key: crypto.KeyObject

  /** @param key of any length; a copy is kept */
  constructor(key: Buffer) {
    this.#key = crypto.createSecretKey(key)
  }

  /** Signs a text: 64 lower-case hexadecimal digits. */
  sign(text: string): string {
    return hmacSha256(this.#key, text).toString('hex')
  }

  /** Whether `signature` is that of `text`. The time it takes does not depend on where the two differ. */
  verify(text: string, signature: string): boolean {
    return equalBytes(Buffer.from(this.sign(text)), Buffer.from(signature))
  }
}

/** A credential has few scopes alive at a time: two days around midnight, a handful of regions. */
const MAX_SCOPES = 64

/**
 * Keys hang on the Credential object itself, so they go when it does: a revoked credential leaves
 * nothing behind, and no secret is ever part of a cache key.
 */
export class SigningKeyCache {
  readonly #byCredential = new WeakMap<Credential, Map<string, SigningKey>>()

  get(credential: Credential, scope: CredentialScope): SigningKey {
    let keys = this.#byCredential.get(credential)
    if (keys === undefined) {
      keys = new Map<string, SigningKey>()
      this.#byCredential.set(credential, keys)
    }
    const name = `${scope.date}/${scope.region}/${scope.service}`
    let key = keys.get(name)
    if (key === undefined) {
      key = deriveSigningKey(credential.secretAccessKey, scope)
      if (keys.size >= MAX_SCOPES) keys.clear()
      keys.set(name, key)
    }
    return key
  }
}

export function sha256Hex(data: Buffer | string): string {
  return crypto.hash('sha256', data, 'hex')
}

export function hmacSha256(key: crypto.KeyObject | Buffer | string, data: string): Buffer {
  return crypto.createHmac('sha256', key).update(data, 'utf8').digest()
}
