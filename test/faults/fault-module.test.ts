/** Tests the fault module itself: what it forwards, and each kind of fault it injects. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { AAD, input, openKey, openWithFaults, type Place } from '../support/pkcs11/gcm-place.ts'
import { CkrError, openModule, type ModuleSession } from '../support/pkcs11/module-session.ts'
import type { Step } from '../support/pkcs11/module-steps.ts'
import { createSoftHsm, createTokenKeys, openToken } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

const OK = 0
const GENERAL_ERROR = 0x5
const DEVICE_ERROR = 0x30
const OPERATION_ACTIVE = 0x90
const SESSION_COUNT = 0xb1
const SESSION_HANDLE_INVALID = 0xb3
const OS_LOCKING_OK = 2
/** Added latency in milliseconds, which exceeds the duration of any call, even on a busy machine. */
const SLOW_MS = 1000

/** Executes a step and returns the CKR code with which it failed, or CKR_OK if it succeeded. */
async function rvOf(module: ModuleSession, step: Step): Promise<number> {
  try {
    await module.step(step)
    return OK
  } catch (error) {
    if (error instanceof CkrError) return error.rv
    throw error
  }
}

void t.test('calls are forwarded to the real module and counted', async (t) => {
  const { control, module, session, key } = await openWithFaults(t)
  const mark = control.mark()
  const before = control.count('C_Encrypt')
  const { output, iv } = await module.step({
    step: 'encrypt',
    session,
    key,
    ...input(Buffer.from('plaintext')),
  })
  t.equal(output.length, 'plaintext'.length + 16)
  const back = await module.step({ step: 'decrypt', session, key, ...input(output, iv) })
  t.equal(back.output.toString(), 'plaintext')
  t.equal(
    await module.rvOf({ step: 'decrypt', session, key, ...input(randomBytes(25), iv) }),
    GENERAL_ERROR,
    "SoftHSM's own answer to a wrong tag",
  )
  t.equal(control.count('C_Encrypt').calls, before.calls + 1)
  t.match(control.count('C_Decrypt'), { calls: 2, failed: 1, injected: 0 })
  t.same(
    control.log(mark).map((call) => [call.function, call.rv]),
    [
      ['C_EncryptInit', 0],
      ['C_Encrypt', 0],
      ['C_DecryptInit', 0],
      ['C_Decrypt', 0],
      ['C_DecryptInit', 0],
      ['C_Decrypt', GENERAL_ERROR],
    ],
  )
  t.match(control.processes(), [
    { pid: module.pid, sessions: 1, initializeFlags: OS_LOCKING_OK, initialized: 1 },
  ])
})

void t.test('the C_Initialize flags are recorded', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const module = openModule(t, token)
  await module.step({ step: 'initialize', flags: 0 })
  t.match(token.control.processes(), [{ initializeFlags: 0, initialized: 1, sessions: 0 }])
  await module.step({ step: 'finalize' })
  await module.step({ step: 'initialize' })
  t.match(token.control.processes(), [{ initializeFlags: OS_LOCKING_OK, initialized: 2 }])
})

void t.test('a return value: a number of times, before or after the call', async (t) => {
  const { control, module, session, key } = await openWithFaults(t)
  const encrypt = () => rvOf(module, { step: 'encrypt', session, key, ...input(AAD) })

  control.plan('C_EncryptInit', { rv: DEVICE_ERROR, times: 2 })
  t.same([await encrypt(), await encrypt(), await encrypt()], [DEVICE_ERROR, DEVICE_ERROR, OK])
  t.match(control.count('C_EncryptInit'), { failed: 2, injected: 2 })

  control.plan('C_EncryptInit', { rv: DEVICE_ERROR, times: 1, afterwards: true })
  t.equal(await encrypt(), DEVICE_ERROR)
  t.equal(await encrypt(), OPERATION_ACTIVE, 'the real module had begun')
})

void t.test('a return value with a probability', async (t) => {
  const { control, module, session, key } = await openWithFaults(t)
  control.plan('C_EncryptInit', { rv: DEVICE_ERROR, probability: 0.5 })
  const answers = new Set<number>()
  while (answers.size < 2)
    answers.add(await rvOf(module, { step: 'encrypt', session, key, ...input(AAD) }))
  t.same([...answers].sort(), [OK, DEVICE_ERROR])
  control.heal()
  for (let round = 0; round < 20; round++)
    t.equal(await rvOf(module, { step: 'encrypt', session, key, ...input(AAD) }), OK)
})

void t.test('latency for one function and for all', async (t) => {
  const { control, module, session, key } = await openWithFaults(t)
  const encrypt = async () => {
    const mark = control.mark()
    await module.step({ step: 'encrypt', session, key, ...input(AAD) })
    return control.log(mark).map(({ ms }) => ms)
  }
  control.plan('C_Encrypt', { latencyMs: SLOW_MS })
  const [init = SLOW_MS, rest = 0] = await encrypt()
  t.ok(init < SLOW_MS && rest >= SLOW_MS, `${String(init)} and ${String(rest)} ms`)
  control.latency(20)
  const [both = 0, more = 0] = await encrypt()
  t.ok(both >= 20 && more >= SLOW_MS + 20)
})

void t.test('hanging, for a time or until released', async (t) => {
  const { control, module, session, key } = await openWithFaults(t)
  const encrypt = () => module.step({ step: 'encrypt', session, key, ...input(AAD) })
  const mark = control.mark()
  control.plan('C_Encrypt', { hang: 60 })
  await encrypt()
  t.ok((control.log(mark).at(-1)?.ms ?? 0) >= 60)

  control.plan('C_Encrypt', {})
  control.hang('until told')
  const stuck = control.mark()
  let isDone = false
  const pending = encrypt().then(() => (isDone = true))
  const calls = control.count('C_EncryptInit').calls
  await eventually(() => control.count('C_EncryptInit').calls > calls || isDone)
  t.same(control.log(stuck), [], 'no call has ended')
  t.notOk(isDone)
  control.hang('no more')
  await pending
})

void t.test('dropping sessions also drops the login and handles', async (t) => {
  const { control, module, slot, session, key } = await openWithFaults(t)
  await module.step({ step: 'open', slot })
  t.equal(control.sessions(), 2)
  control.dropSessions()
  const encrypt = { step: 'encrypt', session, key, ...input(AAD) } as const
  t.equal(await module.rvOf(encrypt), SESSION_HANDLE_INVALID)
  t.equal(control.sessions(), 0)
  t.match(control.processes(), [{ drops: 1, mostSessions: 2 }])
  const fresh = await module.step({ step: 'open', slot })
  t.same(await module.step({ step: 'find', session: fresh, label: 'key' }), [], 'logged out')
})

void t.test('a session limit applies across all processes', async (t) => {
  const { token, control, module, slot } = await openWithFaults(t)
  control.limitSessions(2)
  const other = await openToken(t, token)
  t.equal(await module.rvOf({ step: 'open', slot }), SESSION_COUNT)
  t.equal(control.sessions(), 2)
  await other.module.close()
  await module.step({ step: 'open', slot })
})

void t.test(
  'faults apply to one token of several, including processes that switch to it later',
  async (t) => {
    const token = await withFaults(t, await createSoftHsm(t, ['one', 'two']))
    await createTokenKeys(t, token, [{ label: 'key' }], 'one')
    await createTokenKeys(t, token, [{ label: 'key' }], 'two')
    const one = await openKey(t, token, 'one')
    const two = await openKey(t, token, 'two')
    const found = (await one.module.step({ step: 'tokens' })).find(({ label }) => label === 'one')
    token.control.only(found?.slotId)
    token.control.plan('C_EncryptInit', { rv: DEVICE_ERROR })
    const encrypt = ({ module, session, key }: Place) =>
      rvOf(module, { step: 'encrypt', session, key, ...input(AAD) })
    t.equal(await encrypt(one), DEVICE_ERROR)
    t.equal(await encrypt(two), OK)
    t.equal(await encrypt(await openKey(t, token, 'one')), DEVICE_ERROR)
    token.control.only(undefined)
    t.equal(await encrypt(two), DEVICE_ERROR)
  },
)

for (const crash of ['SIGSEGV', 'SIGABRT'] as const) {
  void t.test(`a crash by ${crash} ends one process`, async (t) => {
    const { token, control, module, session, key } = await openWithFaults(t)
    const other = await openKey(t, token)
    t.equal(control.sessions(), 2)
    control.plan('C_Encrypt', { crash, times: 1 })
    const encrypt = { step: 'encrypt', session, key, ...input(AAD) } as const
    await t.rejects(module.step(encrypt), new RegExp(crash))
    await eventually(() => control.sessions() === 1)
    t.equal(await rvOf(other.module, { ...encrypt, session: other.session, key: other.key }), OK)
  })
}

void t.test('many concurrent threads, each with its own session', async (t) => {
  const { control, module, slot, key } = await openWithFaults(t)
  // The latency makes calls overlap, on one core or several.
  control.plan('C_Encrypt', { latencyMs: 1 })
  const plan = { step: 'parallel', slot, key, sessions: 4, rounds: 100 } as const
  t.equal(await module.step(plan), 400)
  const [state] = control.processes()
  t.ok((state?.mostInFlight ?? 0) > 1, `${String(state?.mostInFlight)} at one time`)
  t.equal(state?.sessions, 1)
})

void t.test('does not load without a real module or a control file', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  for (const name of ['LATCHKEY_FAULT_MODULE', 'LATCHKEY_FAULT_CONTROL']) {
    const environment = { ...token.environment, [name]: '/nowhere' }
    await t.rejects(openModule(t, { ...token, environment }).step({ step: 'initialize' }))
  }
})
