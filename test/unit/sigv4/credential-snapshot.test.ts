/**
 * Tests the snapshot of active credentials: it is replaced as a unit, kept if reading fails, and dropped on request.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  type Credential,
  type CredentialChanges,
  createCredentialSnapshot,
} from '../../../src/sigv4/credential.ts'
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

/** Passes all active credentials to `apply` on each call, as after a reset. */
const following =
  (load: () => readonly Credential[] | Promise<readonly Credential[]>) =>
  async (apply: (changes: CredentialChanges) => Promise<void>) => {
    await apply({ isReset: true, put: await load(), removed: [] })
  }

void t.test('before the first reload there are no credentials', (t) => {
  const snapshot = createCredentialSnapshot(following(() => [credential(FIRST)]))
  t.equal(snapshot.lookup(DEMO)(FIRST), undefined)
  t.end()
})

void t.test('two credentials are in force at once, each found by its own id', async (t) => {
  const [a, b] = [credential(FIRST), credential(SECOND, { secret: 't'.repeat(43) })]
  const snapshot = createCredentialSnapshot(following(() => [a, b]))
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
  const snapshot = createCredentialSnapshot(following(() => [a, b]))
  await snapshot.reload()
  t.equal(snapshot.lookup(DEMO)(SECOND), undefined)
  t.equal(snapshot.lookup(OTHER)(SECOND), b)
  t.equal(snapshot.lookup(OTHER)(FIRST), undefined)
  t.equal(snapshot.lookup(storeName('third'))(FIRST), undefined)
})

void t.test('an existing lookup sees the changes of a reload', async (t) => {
  let stored: readonly Credential[] = []
  const snapshot = createCredentialSnapshot(following(() => stored))
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
  const snapshot = createCredentialSnapshot(following(() => stored))
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

void t.test('an id that moved to another key store is found only there', async (t) => {
  let stored = [credential(FIRST)]
  const snapshot = createCredentialSnapshot(following(() => stored))
  await snapshot.reload()
  stored = [credential(FIRST, { keyStore: OTHER })]
  await snapshot.reload()
  t.equal(snapshot.lookup(DEMO)(FIRST), undefined)
  t.equal(snapshot.lookup(OTHER)(FIRST)?.keyStore, OTHER)
})

void t.test('if a reload fails, the old credentials stay and the error is rethrown', async (t) => {
  const failure = new Error('the disk is gone')
  let load = () => Promise.resolve([credential(FIRST)])
  const snapshot = createCredentialSnapshot(following(() => load()))
  await snapshot.reload()
  load = () => Promise.reject(failure)
  await t.rejects(snapshot.reload(), failure)
  t.ok(snapshot.lookup(DEMO)(FIRST))
})

void t.test('forget removes all credentials until the next reload', async (t) => {
  const snapshot = createCredentialSnapshot(following(() => [credential(FIRST)]))
  const lookup = snapshot.lookup(DEMO)
  await snapshot.reload()
  snapshot.forget()
  t.equal(lookup(FIRST), undefined)
  await snapshot.reload()
  t.ok(lookup(FIRST))
})

void t.test('a change adds, replaces and removes single credentials', async (t) => {
  const SECRET = 'v'.repeat(43)
  const steps: CredentialChanges[] = [
    { isReset: true, put: [credential(FIRST)], removed: [] },
    { isReset: false, put: [credential(SECOND)], removed: [] },
    { isReset: false, put: [credential(SECOND, { secret: SECRET })], removed: [FIRST] },
  ]
  const snapshot = createCredentialSnapshot(async (apply) => {
    const next = steps.shift()
    if (next !== undefined) await apply(next)
  })
  const lookup = snapshot.lookup(DEMO)
  await snapshot.reload()
  const first = lookup(FIRST)
  await snapshot.reload()
  t.equal(lookup(FIRST), first, 'not in the change, so it stays')
  t.ok(lookup(SECOND))
  await snapshot.reload()
  t.equal(lookup(FIRST), undefined)
  t.equal(lookup(SECOND)?.secretAccessKey.reveal(), SECRET)
  await snapshot.reload()
  t.equal(snapshot.all().length, 1, 'nothing has changed')
})

void t.test('credentials that were forgotten are found again if nothing has changed', async (t) => {
  let isFirst = true
  const snapshot = createCredentialSnapshot(async (apply) => {
    if (isFirst) await apply({ isReset: true, put: [credential(FIRST)], removed: [] })
    isFirst = false
  })
  await snapshot.reload()
  snapshot.forget()
  t.same(snapshot.all(), [])
  await snapshot.reload()
  t.ok(snapshot.lookup(DEMO)(FIRST))
})
