/** Tests that a token's keys are read once, that later uses need no lookup, and that a refresh detects changes. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { enforceContract } from '../../src/keys/contract.ts'
import { encrypt, keyId, refusal } from '../../src/keys/suite/fixture.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import type { FaultControl } from '../support/pkcs11/fault-control.ts'
import { withFaults, type FaultyToken } from '../support/pkcs11/fault-module.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { createSoftHsm, createTokenKeys, openToken } from '../support/pkcs11/tokens.ts'
import { promised, type PromisedBackend } from '../../src/keys/suite/promised-backend.ts'
import { eventually } from '../support/server.ts'

t.jobs = 1
t.setTimeout(180_000)

const PATIENCE_MS = 60_000
const REFRESH_MS = 300
const LOOK_UPS = /^C_(?:FindObjects|GetAttributeValue)/

async function backendOn(t: Test, token: FaultyToken, sessions: number, refreshMs: number) {
  const keys = await openKeysOn(t, token, {
    sessions: { min: sessions, max: sessions },
    keys: { by: 'label', refreshMs },
  })
  return { keys, backend: promised(enforceContract(keys.backend('', NO_RECORDS))) }
}

/** Waits until the module's processes have made no calls for half a second. */
async function untilQuiet(control: FaultControl): Promise<void> {
  let mark = control.mark()
  await eventually(async () => {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const before = mark
    mark = control.mark()
    return control.log(before).length === 0
  })
}

/** Returns the version that encrypts, or the error's code: on a busy machine, a request may time out. */
function outcomeOf(backend: PromisedBackend, name: string): Promise<unknown> {
  return encrypt({ backend } as never, keyId(name), Buffer.alloc(32)).then(
    ({ version }) => version,
    (error: unknown) => (error as { code?: string }).code,
  )
}

async function destroyKeys(t: Test, token: FaultyToken, label: string): Promise<void> {
  const { module, session } = await openToken(t, token)
  for (const key of await module.step({ step: 'find', session, label }))
    await module.step({ step: 'destroy', session, key })
  await module.close()
}

void t.test('the first use of a key needs no lookup in any process', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const labels = Array.from({ length: 110 }, (_, i) => `key-${String(i)}`)
  await createTokenKeys(
    t,
    token,
    labels.map((label) => ({ label })),
  )
  const { keys, backend } = await backendOn(t, token, 2, PATIENCE_MS)
  await eventually(() => keys.stats().tokens[0]?.sessions.open === 2)
  await untilQuiet(token.control)
  const mark = token.control.mark()
  await Promise.all(
    labels.map((label) => encrypt({ backend } as never, keyId(label), Buffer.alloc(32))),
  )
  const calls = token.control.log(mark)
  t.same(
    calls.filter((call) => LOOK_UPS.test(call.function)),
    [],
  )
  t.equal(new Set(calls.map(({ pid }) => pid)).size, 2, 'both processes took part')
  const inits = calls.filter((call) => call.function === 'C_EncryptInit').length
  t.ok(inits <= labels.length * 2, 'at most one check value for each use')
})

void t.test('keys divided among the workers are checked as in a single run', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const labels = Array.from({ length: 110 }, (_, i) => `key-${String(i)}`)
  await createTokenKeys(t, token, [
    ...labels.map((label) => ({ label })),
    { label: 'twice', id: '01' },
    { label: 'twice', id: '02' },
    { label: 'key-7@2' },
    { label: 'short', bytes: 16 },
  ])
  const { backend } = await backendOn(t, token, 3, PATIENCE_MS)
  const use = (name: string) => encrypt({ backend } as never, keyId(name), Buffer.alloc(32))
  await t.rejects(use('twice'), refusal('MISCONFIGURED'))
  await t.rejects(use('short'), refusal('KEY_USAGE'))
  t.equal((await use('key-7')).version, 2)
  for (const label of ['key-0', 'key-50', 'key-109']) t.equal((await use(label)).version, 1)
})

void t.test('a refresh detects new keys, versions and duplicates, and removed ones', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'kept' }, { label: 'gone' }])
  const { backend } = await backendOn(t, token, 1, REFRESH_MS)
  const outcome = (name: string) => outcomeOf(backend, name)
  await eventually(async () => (await outcome('kept')) === 1 && (await outcome('gone')) === 1)
  await createTokenKeys(t, token, [{ label: 'kept@2' }, { label: 'kept@9' }])
  await eventually(async () => (await outcome('kept')) === 9)

  await destroyKeys(t, token, 'gone')
  await eventually(async () => (await outcome('gone')) === 'KEY_NOT_FOUND')

  await createTokenKeys(t, token, [{ label: 'kept@9' }])
  await eventually(async () => (await outcome('kept')) === 'MISCONFIGURED')
  await t.rejects(encrypt({ backend } as never, keyId('kept'), Buffer.alloc(32)), {
    ...refusal('MISCONFIGURED'),
    message: /2 keys on the token are named "kept@9"/,
  })
})

void t.test('a key that was read before it had a name is served once it has one', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'kept' }])
  const { backend } = await backendOn(t, token, 1, REFRESH_MS)
  await eventually(async () => (await outcomeOf(backend, 'kept')) === 1)
  const { module, session } = await openToken(t, token)
  const key = await module.step({ step: 'createKey', session, key: { label: '', id: '0f' } })
  const searches = () => token.control.count('C_FindObjectsInit').calls
  const before = searches()
  await eventually(() => searches() >= before + 4)
  await module.step({ step: 'rename', session, key, label: 'kept@9' })
  await eventually(async () => (await outcomeOf(backend, 'kept')) === 9)
  t.pass('version 9 is served')
})

void t.test('a refresh reads used keys again, and no others', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: 'used' }, { label: 'unused' }])
  const { backend } = await backendOn(t, token, 1, REFRESH_MS)
  const reads = () => token.control.count('C_GetAttributeValue').calls
  const searches = () => token.control.count('C_FindObjectsInit').calls
  const before = { reads: reads(), searches: searches() }
  await eventually(() => searches() >= before.searches + 3)
  t.equal(reads(), before.reads, 'nothing is read while no key is used')
  await encrypt({ backend } as never, keyId('used'), Buffer.alloc(32))
  await eventually(() => reads() > before.reads)
  t.pass('the used key is read')
})
