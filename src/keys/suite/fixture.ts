/**
 * The fixture that an implementation of `KeyBackend` provides to the contract suite, and helpers
 * that its checks share.
 */
// SPDX-License-Identifier: Apache-2.0
import type { KeyAdministration, NewKey } from '../administration.ts'
import { systemClock } from '../../core/clock.ts'
import { Deadline } from '../../core/deadline.ts'
import { parseExternalKeyId, type ExternalKeyId } from '../../core/ids.ts'
import type { EncryptedBytes, PromisedBackend } from './promised-backend.ts'

/**
 * One key store, with the backend that serves its requests and the administration that changes its
 * keys.
 */
export interface KeyStoreUnderTest {
  readonly backend: PromisedBackend
  /**
   * The backend's own administration, or an adapter that does the same with the key manager's
   * tools.
   */
  readonly administration: KeyAdministration
}

export interface KeyBackendFixture extends KeyStoreUnderTest {
  /** Another key store on the same key manager. */
  readonly other: KeyStoreUnderTest
  /** Resolves when both backends have seen all changes made by the administrations. */
  settle(): Promise<void>
  /** Stops the key manager from responding until the returned function is called. */
  stall(): Promise<() => Promise<void>>
}

export interface KeyBackendTraits {
  /** Largest plaintext in bytes; KMS sends 4,300 at most. */
  readonly maxPlaintextBytes: number
  /** Number of encryptions made to look for repeated IVs. */
  readonly ivSamples: number
  /** Whether `createKey` accepts `material`. */
  readonly importsKeys: boolean
  /**
   * Whether the first encryption after `createKey` has to wait for the key manager, and so does not
   * finish while the key manager is stalled.
   */
  readonly firstEncryptWaits: boolean
}

export type Message = [] | [string]

/**
 * The assertions that checks make. A tap test satisfies this interface; `suite.ts` has another
 * implementation.
 */
export interface Expect {
  ok(found: unknown, ...message: Message): unknown
  notOk(found: unknown, ...message: Message): unknown
  equal(found: unknown, wanted: unknown, ...message: Message): unknown
  /** Compares values deeply. */
  same(found: unknown, wanted: unknown, ...message: Message): unknown
  /**
   * Matches against a pattern, which may use regular expressions for strings and name only some
   * properties of objects.
   */
  match(found: unknown, pattern: object, ...message: Message): unknown
  rejects(
    promise: Promise<unknown>,
    pattern: { readonly name: string; readonly code: string },
    ...message: Message
  ): Promise<unknown>
  comment(message: string): unknown
}

export type Check = (
  t: Expect,
  fixture: KeyBackendFixture,
  traits: KeyBackendTraits,
) => Promise<void> | void
/** Checks by name. A check's name is also the name of its test, and the name that `skip` uses. */
export type Checks = Readonly<Record<string, Check>>

export const AAD: Buffer = Buffer.from('additional authenticated data')

export const soon = () => new Deadline(systemClock, 20_000)

export function keyId(text: string): ExternalKeyId {
  const parsed = parseExternalKeyId(text)
  if (parsed === undefined) throw new TypeError(`invalid key id: ${text}`)
  return parsed
}

export const refusal = (code: string) => ({ name: 'BackendError', code })

/**
 * Creates a key for both directions, unless `more` says otherwise, and waits until the backend has
 * seen it.
 */
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

/** Encrypts with the current version, as a request does. */
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
