/** KeyBackend on the keys of PKCS#11 tokens. Every call of the module happens in another process. */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import type { KeyStatus } from '../administration.ts'
import { BackendError, toBackendError } from '../errors.ts'
import type {
  KeyBackend,
  SealedBytes,
  VerifiedEncryption,
  VerifiedSealedBytes,
} from '../key-backend.ts'
import type { KeyDirectory, KnownKey, KnownVersion } from './key-directory.ts'
import type { TokenFleet } from './pool/fleet.ts'
import { encodeRef } from './wire/calls.ts'
import { DECRYPT, DIGEST, ENCRYPT, VERIFY } from './wire/protocol.ts'

export interface Pkcs11BackendDeps {
  readonly fleet: TokenFleet
  readonly directory: KeyDirectory
  /** Put before a key id to make a label. */
  readonly keyPrefix: string
  /** Of the key stores own record; ENABLED where there is none. @throws BackendError */
  readonly status: (keyId: ExternalKeyId) => KeyStatus
  readonly vendor: () => string
}

const TAG_BYTES = 16
const NONE = Buffer.alloc(0)

export function createPkcs11Backend(deps: Pkcs11BackendDeps): KeyBackend & VerifiedEncryption {
  let isClosed = false
  const checkOpen = () => {
    if (isClosed) throw new BackendError('UNAVAILABLE', 'the backend is closed')
  }
  const nameOf = (keyId: ExternalKeyId) => `${deps.keyPrefix}${keyId}`

  async function find(keyId: ExternalKeyId, deadline: Deadline): Promise<KnownKey> {
    checkOpen()
    return deps.directory.find(nameOf(keyId), deadline)
  }

  async function findUsable(
    keyId: ExternalKeyId,
    direction: 'canEncrypt' | 'canDecrypt',
    version: number,
    deadline: Deadline,
  ): Promise<KnownVersion> {
    const key = await find(keyId, deadline)
    if (deps.status(keyId) !== 'ENABLED') {
      throw new BackendError('KEY_DISABLED', 'the key is disabled')
    }
    const found = key.versions.get(version)
    if (found === undefined) throw new BackendError('VERSION_NOT_FOUND', 'no such key version')
    if (!found[direction]) throw new BackendError('KEY_USAGE', `the key lacks ${direction}`)
    return found
  }

  async function send(
    keyId: ExternalKeyId,
    [kind, flags]: readonly [number, number],
    { version, checkValue }: KnownVersion,
    parts: readonly Buffer[],
    deadline: Deadline,
  ): Promise<readonly Buffer[]> {
    try {
      const ref = Buffer.from(encodeRef(nameOf(keyId), version), 'latin1')
      return (await deps.fleet.send(kind, flags, [ref, checkValue, ...parts], deadline)).parts
    } catch (error) {
      const failure = toBackendError(error)
      if (failure.code === 'KEY_NOT_FOUND') deps.directory.forget(nameOf(keyId))
      throw failure
    }
  }

  async function encryptVerified(
    keyId: ExternalKeyId,
    version: number,
    plaintext: Buffer,
    aad: Buffer,
    deadline: Deadline,
    wish: { readonly verify: boolean; readonly digestPrefix?: Buffer },
  ): Promise<VerifiedSealedBytes> {
    const key = await findUsable(keyId, 'canEncrypt', version, deadline)
    if (wish.verify && !key.canDecrypt) {
      throw new BackendError('KEY_USAGE', 'the key lacks canDecrypt')
    }
    const { digestPrefix } = wish
    const flags = (wish.verify ? VERIFY : 0) | (digestPrefix === undefined ? 0 : DIGEST)
    const parts = [aad, plaintext, digestPrefix ?? NONE]
    const [iv = NONE, sealed = NONE, digest = NONE, verifyTime] = await send(
      keyId,
      [ENCRYPT, flags],
      key,
      parts,
      deadline,
    )
    const tagAt = sealed.length - TAG_BYTES
    return {
      iv,
      ciphertext: sealed.subarray(0, tagAt),
      tag: sealed.subarray(tagAt),
      ...(digestPrefix === undefined ? {} : { digest }),
      verifyMs: (verifyTime?.readUInt32LE(0) ?? 0) / 1000,
    }
  }

  return {
    get vendor() {
      return deps.vendor()
    },
    async describe(keyId, deadline) {
      const { current } = await find(keyId, deadline)
      return {
        keyId,
        enabled: deps.status(keyId) === 'ENABLED',
        canEncrypt: current.canEncrypt,
        canDecrypt: current.canDecrypt,
        currentVersion: current.version,
      }
    },
    async encrypt(keyId, version, plaintext, aad, deadline): Promise<SealedBytes> {
      const { iv, ciphertext, tag } = await encryptVerified(
        keyId,
        version,
        plaintext,
        aad,
        deadline,
        {
          verify: false,
        },
      )
      return { iv, ciphertext, tag }
    },
    encryptVerified: (keyId, version, plaintext, aad, deadline, digestPrefix) =>
      encryptVerified(keyId, version, plaintext, aad, deadline, {
        verify: true,
        ...(digestPrefix === undefined ? {} : { digestPrefix }),
      }),
    async decrypt(keyId, sealed, aad, deadline) {
      const key = await findUsable(keyId, 'canDecrypt', sealed.version, deadline)
      const parts = [aad, sealed.iv, Buffer.concat([sealed.ciphertext, sealed.tag])]
      const [plaintext = NONE] = await send(keyId, [DECRYPT, 0], key, parts, deadline)
      return plaintext
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
