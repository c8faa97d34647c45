/** The scenario: a key store is registered, a vendor uses it, access is killed, and access is restored. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { Secret } from '../../core/secret.ts'
import type { ProxyConfiguration } from '../../kms/emulator/custom-key-store.ts'
import type { KmsStandIn } from '../../kms/emulator/emulator.ts'
import { KmsException, type KmsExceptionName } from '../../kms/emulator/proxy-failure.ts'
import { NotAsExpected, type ScenarioRunner, seen } from './runner.ts'
import { type ReadOutcome, type Vendor, createVendor } from './vendor.ts'

export interface ScenarioOptions {
  readonly kms: KmsStandIn
  readonly proxy: ProxyConfiguration
  readonly xksKeyId: string
  /** Lifetime of the vendor's cached data keys, in milliseconds. */
  readonly cacheMs: number
  /** The killed scope, for display, such as `key store demo`. */
  readonly scope: string
  /**
   * Kills access and resolves when every instance refuses requests.
   * @returns a sentence for display
   */
  kill(): Promise<string>
  restore(): Promise<string>
}

const OWNER = { principalArn: 'arn:aws:iam::111122223333:role/KeyStoreAdministrator' }
const CONTEXT = { purpose: 'simulate' }

/** Each document's name and text, and whether the vendor keeps its data key in memory. */
const DOCUMENTS = [
  ['contract.pdf', 'This contract is between Northwind and its customers.', false],
  ['payroll-2026-10.csv', 'employee;gross;net', true],
  ['payroll-2026-11.csv', 'employee;gross;net;bonus', true],
  ['board-minutes.md', '# Board minutes', false],
  ['customers.json', '[{"name":"Ada"}]', false],
  ['roadmap.md', '# What comes next', false],
] as const
const COUNT = DOCUMENTS.length
const IN_USE = DOCUMENTS.filter(([, , isInUse]) => isInUse).length

/** Number of steps in the whole scenario. */
export const STEPS = 18

/**
 * Time allowed for a server to notice at its next poll that access was restored, in milliseconds.
 */
const RESTORED_WITHIN_MS = 15_000
const TRY_EVERY_MS = 50

/** @throws ScenarioEnded when a step fails that later steps need */
export async function runScenario(story: ScenarioRunner, options: ScenarioOptions): Promise<void> {
  const keyArn = await register(story, options)
  const vendor = createVendor({ kms: options.kms, keyArn, clock, cacheMs: options.cacheMs })
  await before(story, options, vendor, keyArn)
  await during(story, options, vendor)
  await after(story, options, vendor)
}

async function register(
  story: ScenarioRunner,
  { kms, proxy, xksKeyId }: ScenarioOptions,
): Promise<string> {
  story.part(
    'Register',
    'This command emulates KMS, and calls your proxy over TLS with signed requests.',
  )
  await story.step('wrong secret', async () => {
    const wrong = { ...proxy, rawSecretAccessKey: new Secret('A'.repeat(43)) }
    return refused(
      () => kms.stores.create({ name: 'wrong', proxy: wrong }),
      'XksProxyIncorrectAuthenticationCredentialException',
    )
  })
  const store = await story.must('CreateCustomKeyStore', async () => {
    const value = await kms.stores.create({ name: 'northwind-keys', proxy })
    return { value, detail: `${value.id}; GetHealthStatus succeeded` }
  })
  await story.must('ConnectCustomKeyStore', async () => {
    kms.stores.connect(store.id)
    const { state, errorCode } = await kms.stores.settled(store.id)
    if (state !== 'CONNECTED') throw new NotAsExpected(`${state}: ${errorCode ?? ''}`)
    return seen(state)
  })
  const key = await story.must('CreateKey', async () => {
    const value = await kms.createKey(OWNER, { customKeyStoreId: store.id, xksKeyId })
    return { value, detail: `XksKeyId ${xksKeyId}: AES_256, ENABLED, ENCRYPT and DECRYPT` }
  })
  return key.arn
}

async function before(
  story: ScenarioRunner,
  { kms }: ScenarioOptions,
  vendor: Vendor,
  keyArn: string,
): Promise<void> {
  story.part(
    'A vendor uses the key',
    'Each document has its own data key, encrypted by KMS first and then by your key.',
  )
  await story.must('stores documents', async () => {
    for (const [name, text, isInUse] of DOCUMENTS) await vendor.store(name, text, isInUse)
    return seen(
      `${String(COUNT)} documents; the data keys of ${String(IN_USE)} stay in the vendor's memory`,
    )
  })
  await story.must('reads them', async () =>
    seen(expectReads(await vendor.readAll(), { memory: IN_USE, kms: COUNT - IN_USE })),
  )
  await story.step('another tenant', () =>
    refused(() => vendor.readAs('contoso', 'contract.pdf'), 'KMSInvalidStateException'),
  )
  await story.step('Encrypt, ReEncrypt, Decrypt', async () => {
    const plaintext = Buffer.from('a vendor password')
    const { ciphertextBlob } = await kms.encrypt(OWNER, { keyId: keyArn, plaintext })
    const moved = await kms.reEncrypt(OWNER, {
      ciphertextBlob,
      destinationKeyId: keyArn,
      destinationEncryptionContext: CONTEXT,
    })
    const opened = await kms.decrypt(OWNER, {
      ciphertextBlob: moved.ciphertextBlob,
      encryptionContext: CONTEXT,
    })
    if (!opened.plaintext.equals(plaintext))
      throw new NotAsExpected('Decrypt returned different bytes')
    return seen('the same bytes, under a new encryption context')
  })
}

async function during(
  story: ScenarioRunner,
  options: ScenarioOptions,
  vendor: Vendor,
): Promise<void> {
  story.part(
    `You revoke access: ${options.scope}`,
    'No key manager can revoke what a service on AWS already has in memory.',
  )
  // Refresh the cached data keys, so that the time until they expire after the kill can be observed.
  await vendor.readAll()
  await story.must('latchkey kill', async () => seen(await options.kill()))
  await story.step('reads documents', async () =>
    seen(expectReads(await vendor.readAll(), { memory: IN_USE, refused: COUNT - IN_USE })),
  )
  await story.step('stores a document', () =>
    refused(() => vendor.store('new.txt', 'x', false), 'KMSInvalidStateException'),
  )
  await story.step('discards its data keys', async () => {
    await vendor.forget()
    return seen('the keys in memory have expired')
  })
  await story.step('reads documents', async () =>
    seen(expectReads(await vendor.readAll(), { refused: COUNT })),
  )
  await story.step('what AWS shows', () => {
    const [store] = options.kms.stores.describe()
    if (store?.state !== 'CONNECTED') throw new NotAsExpected(String(store?.state))
    return Promise.resolve(seen('still CONNECTED, although no key works'))
  })
}

async function after(
  story: ScenarioRunner,
  options: ScenarioOptions,
  vendor: Vendor,
): Promise<void> {
  story.part('You restore access')
  await story.must('latchkey restore', async () => seen(await options.restore()))
  await story.step('first read', async () => {
    const until = clock.monotonic() + RESTORED_WITHIN_MS
    for (;;) {
      const { how } = await vendor.read('contract.pdf')
      if (how === 'kms') return seen('contract.pdf')
      if (clock.monotonic() > until) throw new NotAsExpected('still refused')
      await pause(TRY_EVERY_MS)
    }
  })
  await story.step('reads documents', async () => {
    const outcomes = await vendor.readAll()
    const same = outcomes.every(
      ({ name, text }) => text === DOCUMENTS.find(([known]) => known === name)?.[1],
    )
    if (!same) throw new NotAsExpected('a document differs from what was stored')
    return seen(`${expectReads(outcomes, { kms: COUNT })}; nothing was lost`)
  })
  await story.step('stores a document', async () => {
    await vendor.store('new.txt', 'It works again.', false)
    const { text } = await vendor.read('new.txt')
    if (text !== 'It works again.') throw new NotAsExpected('the document cannot be read')
    return seen('new.txt, and reads it back')
  })
}

interface Reads {
  readonly kms?: number
  readonly memory?: number
  readonly refused?: number
}

/** @throws NotAsExpected */
function expectReads(outcomes: readonly ReadOutcome[], expected: Reads): string {
  const count = (test: (how: ReadOutcome['how']) => boolean) =>
    outcomes.filter(({ how }) => test(how)).length
  const found = {
    kms: count((how) => how === 'kms'),
    memory: count((how) => how === 'memory'),
    refused: count((how) => typeof how === 'object'),
  }
  const onlyMemory = found.memory > 0 && found.kms === 0
  const names = outcomes.flatMap(({ how }) => (typeof how === 'object' ? [how.refused] : []))
  const parts = [
    `${String(found.kms + found.memory)} of ${String(outcomes.length)} readable${onlyMemory ? ' (memory)' : ''}`,
    ...(found.memory > 0 && !onlyMemory ? [`${String(found.memory)} from memory`] : []),
    ...(found.refused > 0
      ? [`${String(found.refused)} refused: ${[...new Set(names)].join(', ')}`]
      : []),
  ]
  const text = parts.join(', ')
  const wrong = (['kms', 'memory', 'refused'] as const).some(
    (how) => found[how] !== (expected[how] ?? 0),
  )
  if (wrong || names.some((name) => name !== 'KMSInvalidStateException')) {
    throw new NotAsExpected(text)
  }
  return text
}

/** @throws NotAsExpected when the call is not refused, or is refused for another reason */
async function refused(work: () => Promise<unknown>, name: KmsExceptionName) {
  try {
    await work()
  } catch (error) {
    if (error instanceof KmsException && error.code === name) return seen(`refused: ${name}`)
    throw error
  }
  throw new NotAsExpected('the request was not refused')
}
