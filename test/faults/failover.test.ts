/**
 * Tests two tokens with the same keys: load is distributed, failing tokens are skipped, and the health status names
 * them.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { enforceContract } from '../../src/keys/contract.ts'
import type { Pkcs11BackendConfig } from '../../src/config/config.ts'
import { Secret } from '../../src/core/secret.ts'
import { decrypt, encrypt, keyId, refusal, soon } from '../../src/keys/suite/fixture.ts'
import { promised } from '../../src/keys/suite/promised-backend.ts'
import { NO_RECORDS } from '../support/pkcs11/key-records.ts'
import { openKeysOn } from '../support/pkcs11/backend-config.ts'
import type { FaultPlan } from '../support/pkcs11/fault-control.ts'
import { withFaults, type FaultyToken } from '../support/pkcs11/fault-module.ts'
import { createSoftHsm, createTokenKeys, openToken } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.jobs = 1
t.setTimeout(120_000)

const KEY = keyId('key')
const LABELS = ['one', 'two'] as const
const DEVICE_ERROR = 0x30

async function opened(t: Test, more: Partial<Pkcs11BackendConfig> = {}) {
  const token = await withFaults(t, await createSoftHsm(t, LABELS))
  const material = randomBytes(32)
  for (const label of LABELS) await createTokenKeys(t, token, [{ label: 'key', material }], label)
  const keys = await openKeysOn(t, token, {
    tokens: LABELS.map((label) => ({ label, pin: new Secret(token.pin) })),
    sessions: { min: 1, max: 1 },
    deadlines: { operationMs: 4000, startMs: 60_000, stuckMs: 1000 },
    ...more,
  })
  const backend = promised(enforceContract(keys.backend('', NO_RECORDS)))
  const roundTrip = async () => {
    const plaintext = randomBytes(32)
    const sealed = await encrypt({ backend } as never, KEY, plaintext)
    const back = await decrypt({ backend } as never, KEY, sealed)
    t.ok(back.equals(plaintext))
  }
  const statuses = async () => {
    const managers = await backend.health(soon())
    return Object.fromEntries(managers.map(({ id, status }) => [id, status]))
  }
  const hedges = () => keys.stats().tokens.map((one) => one.hedges)
  return { token, control: token.control, backend, roundTrip, statuses, hedges }
}

async function slotOf(t: Test, token: FaultyToken, label: string): Promise<number> {
  const { module } = await openToken(t, token, label)
  const found = (await module.step({ step: 'tokens' })).find((one) => one.label === label)
  await module.close()
  if (found === undefined) throw new Error(`no token ${label}`)
  return found.slotId
}

void t.test('requests are distributed to both tokens', async (t) => {
  const { control, roundTrip, statuses } = await opened(t)
  await roundTrip()
  const mark = control.mark()
  for (let round = 0; round < 40; round++) await roundTrip()
  const done = control.log(mark).filter((call) => /^C_(?:En|De)crypt$/.test(call.function))
  const pids = new Set(done.map(({ pid }) => pid))
  t.equal(pids.size, 2)
  for (const pid of pids)
    t.ok(done.filter((call) => call.pid === pid).length >= 20, 'each has its share')
  t.same(await statuses(), { 'hsm/one': 'ACTIVE', 'hsm/two': 'ACTIVE' })
})

const SLOW_MS = 200
const HEDGE_MS = 30

void t.test('a slow token delays an operation by little more than hedge.after', async (t) => {
  const { token, control, roundTrip, backend, hedges } = await opened(t, {
    hedge: { afterMs: HEDGE_MS },
  })
  await roundTrip()
  control.only(await slotOf(t, token, 'one'))
  for (const name of ['C_EncryptInit', 'C_Encrypt', 'C_DecryptInit', 'C_Decrypt'])
    control.plan(name, { latencyMs: SLOW_MS })
  const mark = control.mark()
  const sealed = await encrypt({ backend } as never, KEY, randomBytes(32))
  const latencies: number[] = []
  for (let round = 0; round < 200; round++) {
    const startedAt = performance.now()
    await (round % 2 === 0
      ? decrypt({ backend } as never, KEY, sealed)
      : encrypt({ backend } as never, KEY, randomBytes(32)))
    latencies.push(performance.now() - startedAt)
    // Give the slow token time to finish, so that it is used again.
    await new Promise((resolve) => setTimeout(resolve, 15))
  }
  const [slow, quick] = hedges()
  t.ok((slow?.other ?? 0) > 0, 'the other token was first')
  t.equal(slow?.none, 0)
  t.ok((quick?.other ?? 0) <= (slow?.other ?? 0), 'the slow one is named')
  latencies.sort((a, b) => a - b)
  t.comment(
    `p50 ${(latencies[100] ?? 0).toFixed(1)} ms, p99 ${(latencies[197] ?? 0).toFixed(1)} ms`,
  )
  const done = control.log(mark).filter((call) => /^C_(?:En|De)crypt/.test(call.function))
  t.equal(new Set(done.map(({ pid }) => pid)).size, 2, 'the slow token was tried')
})

void t.test(
  'an operation that fails on every token fails once, whether hedged or not',
  async (t) => {
    const { control, roundTrip, backend } = await opened(t, { hedge: { afterMs: HEDGE_MS } })
    await roundTrip()
    const sealed = await encrypt({ backend } as never, KEY, randomBytes(32))
    const broken = { ...sealed, tag: randomBytes(16) }
    await t.rejects(decrypt({ backend } as never, KEY, broken), refusal('INTEGRITY_FAILURE'))
    for (const name of ['C_EncryptInit', 'C_DecryptInit']) control.plan(name, { rv: DEVICE_ERROR })
    await t.rejects(decrypt({ backend } as never, KEY, sealed), { name: 'BackendError' })
    control.heal()
    const isServed = () =>
      decrypt({ backend } as never, KEY, sealed).then(
        () => true,
        () => false,
      )
    await eventually(isServed)
  },
)

const DEATHS: readonly [string, FaultPlan][] = [
  ['hangs', { hang: 'until told' }],
  ['fails', { rv: DEVICE_ERROR }],
  ['crashes', { crash: 'SIGSEGV' }],
]

for (const [what, plan] of DEATHS) {
  void t.test(`a token that ${what} is skipped until it recovers`, async (t) => {
    const { token, control, roundTrip, statuses } = await opened(t)
    await roundTrip()
    control.only(await slotOf(t, token, 'one'))
    control.plan('C_EncryptInit', plan)
    control.plan('C_DecryptInit', plan)
    for (let round = 0; round < 10; round++) await roundTrip()
    await Promise.all(Array.from({ length: 20 }, roundTrip))
    t.equal((await statuses())['hsm/one'], 'UNAVAILABLE')
    t.equal((await statuses())['hsm/two'], 'ACTIVE')
    control.heal()
    await eventually(async () => (await statuses())['hsm/one'] === 'ACTIVE')
  })
}
