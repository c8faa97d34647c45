/** Signing keys: derived once per credential, day, region and service, then kept. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'
import { equalBytes } from '../core/constant-time.ts'
import type { Secret } from '../core/secret.ts'
import type { CredentialScope } from './authorization-header.ts'
import type { Credential } from './credential.ts'

/** XKS 1.0.3, Appendix A, Task 3: four chained HMACs. */
export function deriveSigningKey(secretAccessKey: Secret, scope: CredentialScope): HmacSha256 {
  const dateKey = hmacSha256(`AWS4${secretAccessKey.reveal()}`, scope.date)
  const regionKey = hmacSha256(dateKey, scope.region)
  const serviceKey = hmacSha256(regionKey, scope.service)
  return new HmacSha256(hmacSha256(serviceKey, 'aws4_request'))
}

/** A credential has few scopes alive at a time: two days around midnight, a handful of regions. */
const MAX_SCOPES = 64

interface CachedKey {
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
  readonly #byCredential = new WeakMap<Credential, CachedKey>()

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

const BLOCK_BYTES = 64
const DIGEST_BYTES = 32

export function sha256Hex(data: Buffer | string): string {
  return crypto.hash('sha256', data, 'hex')
}

/** UTF-8 takes at most three bytes for each UTF-16 unit of a string. */
const MAX_BYTES_PER_UNIT = 3
/** Room for the text; a string to sign has some 140 bytes. */
const TEXT_BYTES = 1024

/** RFC 2104, with the key's two pads made once. Not for concurrent use: it has work buffers. */
export class HmacSha256 {
  readonly #inner = Buffer.alloc(BLOCK_BYTES + TEXT_BYTES)
  readonly #outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES)
  readonly #expected = Buffer.alloc(DIGEST_BYTES)
  readonly #given = Buffer.alloc(DIGEST_BYTES)

  /** @param key of any length; a copy is kept */
  constructor(key: Buffer) {
    const short = key.length > BLOCK_BYTES ? crypto.hash('sha256', key, 'buffer') : key
    this.#inner.fill(0x36, 0, BLOCK_BYTES)
    this.#outer.fill(0x5c, 0, BLOCK_BYTES)
    short.forEach((byte, i) => {
      this.#inner[i] = byte ^ 0x36
      this.#outer[i] = byte ^ 0x5c
    })
  }

  /** 32 bytes. */
  digest(data: string): Buffer {
    return Buffer.from(this.#hash(data), 'latin1')
  }

  /**
   * In time that does not depend on where the two differ.
   * @param hex 64 hexadecimal digits; anything else is no digest of anything
   */
  isDigest(hex: string, data: string): boolean {
    const given = this.#given.write(hex, 'hex')
    this.#expected.write(this.#hash(data), 'latin1')
    return (
      equalBytes(this.#expected, this.#given) &&
      given === DIGEST_BYTES &&
      hex.length === 2 * DIGEST_BYTES
    )
  }

  #hash(data: string): string {
    this.#outer.write(this.#hashInner(data), BLOCK_BYTES, 'latin1')
    return crypto.hash('sha256', this.#outer, 'binary')
  }

  /** As a string of bytes: it costs a third of what a hash in a Buffer of its own does. */
  #hashInner(data: string): string {
    if (data.length * MAX_BYTES_PER_UNIT > TEXT_BYTES) {
      const text = Buffer.from(data, 'utf8')
      return crypto.hash(
        'sha256',
        Buffer.concat([this.#inner.subarray(0, BLOCK_BYTES), text]),
        'binary',
      )
    }
    const end = BLOCK_BYTES + this.#inner.write(data, BLOCK_BYTES, 'utf8')
    return crypto.hash('sha256', this.#inner.subarray(0, end), 'binary')
  }
}

export function hmacSha256(key: Buffer | string, data: string): Buffer {
  return crypto.createHmac('sha256', key).update(data, 'utf8').digest()
}
