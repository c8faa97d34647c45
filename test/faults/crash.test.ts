/** Tests that a crashing PKCS#11 module takes down only its own process, and leaves other key stores unaffected. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, SOFTWARE_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

/** The long deadline keeps a busy machine from causing refusals. */
const PATIENT = { config: { limits: { requestDeadline: '5s' } } }
const input = { plaintext: Buffer.alloc(32, 7), cdiv: true }

for (const crash of ['SIGSEGV', 'SIGABRT'] as const) {
  void t.test(`a module that crashes with ${crash} repeatedly`, async (t) => {
    const token = await withFaults(t, await createSoftHsm(t))
    await createTokenKeys(t, token, [{ label: HSM_KEY }])
    const { control } = token
    const { hsm, software, running } = await startHsmServer(t, token, PATIENT)
    const isServed = async () => (await hsm.encrypt(HSM_KEY, input)).status === 200
    await eventually(isServed)
    const before = control.processes().map(({ pid }) => pid)

    // While the module crashes on every call, requests that need the HSM fail, and all others succeed.
    control.plan('C_EncryptInit', { crash })
    const until = performance.now() + 1500
    const statuses = new Set<number>()
    while (performance.now() < until) {
      const [onHsm, inSoftware] = await Promise.all([
        hsm.encrypt(HSM_KEY, input),
        software.encrypt(SOFTWARE_KEY, input),
      ])
      statuses.add(onHsm.status)
      t.equal(inSoftware.status, 200)
    }
    t.notOk(statuses.has(200))
    for (const status of statuses) t.ok(status >= 500, String(status))

    control.plan('C_EncryptInit', {})
    const healedAt = performance.now()
    await eventually(isServed)
    const backAfterMs = performance.now() - healedAt
    t.comment(`back after ${backAfterMs.toFixed(0)} ms`)
    t.notOk(
      control.processes().some(({ pid }) => before.includes(pid)),
      'by other processes',
    )
    t.equal(running.process.exitCode, null, 'and the same server')
  })
}
