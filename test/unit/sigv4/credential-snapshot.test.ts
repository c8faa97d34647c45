/**
 * Tests the active credentials: they are replaced together, kept when reading fails, and dropped
 * when required.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type Credential, createCredentialSnapshot } from '../../../src/sigv4/credential.ts'
import {
  ACCESS_KEY_ID as FIRST,
  type CredentialOptions,
  OTHER_ACCESS_KEY_ID as SECOND,
  makeCredential,
  storeName,
} from '../../support/credential.ts'

const DEMO = storeName('demo')
const OTHER = storeName('other')

const credential = (accessKeyId: string, more: CredentialOptions = {}): Credential =>
  makeCredential({ ...more, accessKeyId })

void t.test('before the first reload there are no credentials', (t) => {
  const snapshot = createCredentialSnapshot(() => Promise.resolve([credential(FIRST)]))
  t.equal(snapshot.lookup(DEMO)(FIRST), undefined)
  t.end()
})

void t.test('two credentials are in force at once, each found by its own id', async (t) => {
  const [a, b] = [credential(FIRST), credential(SECOND, { secret: 't'.repeat(43) })]
  const snapshot = createCredentialSnapshot(() => Promise.resolve([a, b]))
  await snapshot.reload()
  const lookup = snapshot.lookup(DEMO)
  t.equal(lookup(FIRST), a)
  t.equal(lookup(SECOND), b)
  for (const id of ['', FIRST.toLowerCase(), `${FIRST}A`, FIRST.slice(1), '__proto__'])
    t.equal(lookup(id), undefined, `"${id}"`)
})

void t.test('a key store finds its own credentials only', async (t) => {
  const a = credential(FIRST)
  const b = credential(SECOND, { keyStore: OTHER })
  const snapshot = createCredentialSnapshot(() => Promise.resolve([a, b]))
  await snapshot.reload()
  t.equal(snapshot.lookup(DEMO)(SECOND), undefined)
  t.equal(snapshot.lookup(OTHER)(SECOND), b)
  t.equal(snapshot.lookup(OTHER)(FIRST), undefined)
  t.equal(snapshot.lookup(storeName('third'))(FIRST), undefined)
})

void t.test('a lookup handed out before sees what a reload brought and took', async (t) => {
  let stored: readonly Credential[] = []
  const snapshot = createCredentialSnapshot(() => Promise.resolve(stored))
  const lookup = snapshot.lookup(DEMO)
  await snapshot.reload()
  t.equal(lookup(FIRST), undefined)
  stored = [credential(FIRST), credential(SECOND)]
  await snapshot.reload()
  t.ok(lookup(FIRST))
  t.ok(lookup(SECOND))
  stored = [credential(SECOND)]
  await snapshot.reload()
  t.equal(lookup(FIRST), undefined, 'revoked')
  t.ok(lookup(SECOND))
})

void t.test('an unchanged credential stays the same object; a changed one does not', async (t) => {
  let stored = [credential(FIRST)]
  const snapshot = createCredentialSnapshot(() => Promise.resolve(stored))
  const lookup = snapshot.lookup(DEMO)
  await snapshot.reload()
  const first = lookup(FIRST)
  stored = [credential(FIRST)]
  await snapshot.reload()
  t.equal(lookup(FIRST), first, 'its signing keys hang on it')

  stored = [credential(FIRST, { expiresAt: 1000 })]
  await snapshot.reload()
  t.not(lookup(FIRST), first)
  t.equal(lookup(FIRST)?.expiresAt, 1000, 'it was given an expiry')

  stored = [credential(FIRST, { expiresAt: 2000 })]
  await snapshot.reload()
  t.equal(lookup(FIRST)?.expiresAt, 2000, 'another one')

  stored = [credential(FIRST, { expiresAt: 2000, secret: 'u'.repeat(43) })]
  await snapshot.reload()
  t.equal(lookup(FIRST)?.secretAccessKey.reveal(), 'u'.repeat(43), 'another secret')
})

void t.test('an id that went to another key store is found there, and not here', async (t) => {
  let stored = [credential(FIRST)]
  const snapshot = createCredentialSnapshot(() => Promise.resolve(stored))
  await snapshot.reload()
  stored = [credential(FIRST, { keyStore: OTHER })]
  await snapshot.reload()
  t.equal(snapshot.lookup(DEMO)(FIRST), undefined)
  t.equal(snapshot.lookup(OTHER)(FIRST)?.keyStore, OTHER)
})

void t.test('when a reload fails, the old ones stay and the error is thrown on', async (t) => {
  const failure = new Error('the disk is gone')
  let load = () => Promise.resolve([credential(FIRST)])
  const snapshot = createCredentialSnapshot(() => load())
  await snapshot.reload()
  load = () => Promise.reject(failure)
  await t.rejects(snapshot.reload(), failure)
  t.ok(snapshot.lookup(DEMO)(FIRST))
})

void t.test('forget removes all credentials until the next reload', async (t) => {
  const snapshot = createCredentialSnapshot(() => Promise.resolve([credential(FIRST)]))
  const lookup = snapshot.lookup(DEMO)
  await snapshot.reload()
  snapshot.forget()
  t.equal(lookup(FIRST), undefined)
  await snapshot.reload()
  t.ok(lookup(FIRST))
})
