/** KeyBackend for keys on PKCS#11 tokens. Every module call runs in another process. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../../core/ids.ts'
import { BackendError, toBackendError } from '../errors.ts'
import type {
  BackendKey,
  DecryptRequest,
  EncryptRequest,
  KeyBackend,
  SealedBytes,
  VerifiedEncryption,
  VerifiedEncryptRequest,
  VerifiedSealedBytes,
} from '../key-backend.ts'
import { takeUse } from '../software/use-counter.ts'
import type { KeyDirectory, KnownKey, KnownVersion } from './key-directory.ts'
import type { KeyStoreRecords } from './key-records.ts'
import type { TokenFleet } from './pool/fleet.ts'
import { DECRYPT, DIGEST, ENCRYPT, VERIFY } from './wire/protocol.ts'

export interface Pkcs11BackendDeps {
  readonly fleet: TokenFleet
  readonly directory: KeyDirectory
  /** Prefix that turns a key id into a label. */
  readonly keyPrefix: string
  /** Records of the keys in the control store. */
  readonly records: KeyStoreRecords
  readonly vendor: () => string
}

const TAG_BYTES = 16
const NONE = Buffer.alloc(0)

export function createPkcs11Backend(deps: Pkcs11BackendDeps): KeyBackend {
  let isClosed = false
  const checkOpen = () => {
    if (isClosed) throw new BackendError('UNAVAILABLE', 'the backend is closed')
  }
  return {
    get vendor() {
      return deps.vendor()
    },
    find(keyId, deadline) {
      checkOpen()
      const name = `${deps.keyPrefix}${keyId}`
      const known = deps.directory.find(name, deadline)
      return known instanceof Promise
        ? known.then((later) => new FoundKey(deps, keyId, name, later))
        : new FoundKey(deps, keyId, name, known)
    },
    async health(deadline) {
      checkOpen()
      return deps.fleet.health(deadline)
    },
    close() {
      isClosed = true
      return Promise.resolve()
    },
  }
}

class FoundKey implements BackendKey, VerifiedEncryption {
  readonly keyId: ExternalKeyId
  readonly enabled: boolean
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly currentVersion: number
  readonly #deps: Pkcs11BackendDeps
  /** The key's label or id on the token. */
  readonly #name: string
  readonly #versions: KnownKey['versions']

  constructor(
    deps: Pkcs11BackendDeps,
    keyId: ExternalKeyId,
    name: string,
    { current, versions }: KnownKey,
  ) {
    this.keyId = keyId
    this.enabled = deps.records.status(keyId) === 'ENABLED'
    this.canEncrypt = current.canEncrypt
    this.canDecrypt = current.canDecrypt
    this.currentVersion = current.version
    this.#deps = deps
    this.#name = name
    this.#versions = versions
  }

  async encrypt(request: EncryptRequest): Promise<SealedBytes> {
    const { iv, ciphertext, tag } = await this.#seal(request, 0)
    return { iv, ciphertext, tag }
  }

  encryptVerified(request: VerifiedEncryptRequest): Promise<VerifiedSealedBytes> {
    return this.#seal(request, VERIFY)
  }

  async decrypt(request: DecryptRequest): Promise<Buffer> {
    const { ref, checkValue } = this.#find(request.version, 'canDecrypt')
    const sealed = Buffer.concat([request.ciphertext, request.tag])
    const parts = [ref, checkValue, request.aad, request.iv, sealed]
    try {
      const answer = await this.#deps.fleet.send(DECRYPT, 0, parts, request.deadline)
      return answer.parts[0] ?? NONE
    } catch (error) {
      throw this.#toFailure(error)
    }
  }

  async #seal(request: VerifiedEncryptRequest, verify: number): Promise<VerifiedSealedBytes> {
    const { version, plaintext, aad, digestPrefix, deadline } = request
    const key = this.#find(version, 'canEncrypt')
    // Encrypting with a version older than the newest known version would undo a rotation.
    this.#deps.records.checkNewest(this.keyId, version)
    if (verify !== 0) this.#find(version, 'canDecrypt')
    const uses = this.#deps.records.uses(this.keyId, version)
    if (uses?.tryTake() === false) await takeUse(uses, deadline)
    const flags = verify | (digestPrefix === undefined ? 0 : DIGEST)
    const parts = [key.ref, key.checkValue, aad, plaintext, digestPrefix ?? NONE]
    try {
      const answer = await this.#deps.fleet.send(ENCRYPT, flags, parts, deadline)
      const [iv = NONE, sealed = NONE, digest = NONE, verifyTime] = answer.parts
      const tagAt = sealed.length - TAG_BYTES
      return {
        iv,
        ciphertext: sealed.subarray(0, tagAt),
        tag: sealed.subarray(tagAt),
        digest: digestPrefix === undefined ? undefined : digest,
        verifyMs: (verifyTime?.readUInt32LE(0) ?? 0) / 1000,
      }
    } catch (error) {
      throw this.#toFailure(error)
    }
  }

  /** Each version on a token is a separate key with its own usage. */
  #find(version: number, direction: 'canEncrypt' | 'canDecrypt'): KnownVersion {
    const found = this.#versions.get(version)
    if (found === undefined) throw new BackendError('VERSION_NOT_FOUND', 'no such key version')
    this.#deps.records.check(this.keyId, found)
    if (!found[direction])
      throw new BackendError('KEY_USAGE', `the version does not allow ${direction}`)
    return found
  }

  #toFailure(error: unknown): BackendError {
    const failure = toBackendError(error)
    if (failure.code === 'KEY_NOT_FOUND' || failure.code === 'KEY_REPLACED')
      this.#deps.directory.forget(this.#name)
    return failure
  }
}
