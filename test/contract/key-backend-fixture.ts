/** What an implementation of `KeyBackend` hands to the contract suite, and what its checks share. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { KeyAdministration, NewKey } from '../../src/keys/administration.ts'
import { systemClock } from '../../src/core/clock.ts'
import { Deadline } from '../../src/core/deadline.ts'
import { parseExternalKeyId, type ExternalKeyId } from '../../src/core/ids.ts'
import type { EncryptedBytes, PromisedBackend } from '../support/promised-backend.ts'

/** One key store: what serves requests, and a way to change its keys. */
export interface KeyStoreUnderTest {
  readonly backend: PromisedBackend
  /** The backend's own, or an adapter that does the same with the key manager's tools. */
  readonly administration: KeyAdministration
}

export interface KeyBackendFixture extends KeyStoreUnderTest {
  /** Another key store on the same key manager. */
  readonly other: KeyStoreUnderTest
  /** Resolves when both backends have seen all that the administrations did. */
  settle(): Promise<void>
  /** Makes the key manager fall silent, until the returned function is called. */
  stall(): Promise<() => Promise<void>>
}

export interface KeyBackendTraits {
  /** Largest plaintext in bytes; KMS sends 4,300 at most. */
  readonly maxPlaintextBytes: number
  /** How many encryptions the look for repeated IVs makes. */
  readonly ivSamples: number
  /** Whether `createKey` takes `material`. */
  readonly importsKeys: boolean
  /** Whether encrypting for the first time after `createKey` needs the silent key manager. */
  readonly firstEncryptWaits: boolean
}

export type Check = (
  t: Test,
  fixture: KeyBackendFixture,
  traits: KeyBackendTraits,
) => Promise<void> | void
/** By what is checked: the name of the test, and what `skip` names. */
export type Checks = Readonly<Record<string, Check>>

export const AAD: Buffer = Buffer.from('what the caller binds')

export const soon = () => new Deadline(systemClock, 20_000)

export function keyId(text: string): ExternalKeyId {
  const parsed = parseExternalKeyId(text)
  if (parsed === undefined) throw new TypeError(`no key id: ${text}`)
  return parsed
}

export const refusal = (code: string) => ({ name: 'BackendError', code })

/** A key that does both, unless `more` says otherwise; the backend has seen it. */
export async function createKey(
  fixture: KeyBackendFixture,
  name = 'key',
  more: Partial<NewKey> = {},
  { administration }: KeyStoreUnderTest = fixture,
): Promise<ExternalKeyId> {
  const id = keyId(name)
  await administration.createKey({ keyId: id, canEncrypt: true, canDecrypt: true, ...more })
  await fixture.settle()
  return id
}

/** Encrypts under the current version, as a request does. */
export async function encrypt(
  { backend }: KeyStoreUnderTest,
  id: ExternalKeyId,
  plaintext: Buffer,
  aad = AAD,
): Promise<EncryptedBytes> {
  const { currentVersion: version } = await backend.describe(id, soon())
  const request = { keyId: id, version, plaintext, aad, deadline: soon() }
  return { version, ...(await backend.encrypt(request)) }
}

export function decrypt(
  { backend }: KeyStoreUnderTest,
  id: ExternalKeyId,
  sealed: EncryptedBytes,
  aad = AAD,
): Promise<Buffer> {
  return backend.decrypt({ keyId: id, ...sealed, aad, deadline: soon() })
}
