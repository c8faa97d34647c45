/** Tests that a module that crashes ends one process and affects no other key store. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, SOFTWARE_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

const BACK_WITHIN_MS = 3000
const PATIENCE_MS = 30_000
/** A long deadline, so that a busy machine refuses nothing. */
const PATIENT = { config: { limits: { requestDeadline: '2s' } } }
const input = { plaintext: Buffer.alloc(32, 7), cdiv: true }

for (const crash of ['SIGSEGV', 'SIGABRT'] as const) {
  void t.test(`a module that ends by ${crash}, again and again`, async (t) => {
    const token = await withFaults(t, await createSoftHsm(t))
    await createTokenKeys(t, token, [{ label: HSM_KEY }])
    const { control } = token
    const { hsm, software, running } = await startHsmServer(t, token, PATIENT)
    const isServed = async () => (await hsm.encrypt(HSM_KEY, input)).status === 200
    await eventually(isServed, PATIENCE_MS)
    const before = control.processes().map(({ pid }) => pid)

    // While it crashes at every use, nothing that needs the HSM works, and everything else does.
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
    await eventually(isServed, PATIENCE_MS)
    const backAfterMs = performance.now() - healedAt
    t.comment(`back after ${backAfterMs.toFixed(0)} ms`)
    t.ok(backAfterMs < BACK_WITHIN_MS, `back after ${backAfterMs.toFixed(0)} ms`)
    t.notOk(
      control.processes().some(({ pid }) => before.includes(pid)),
      'by other processes',
    )
    t.equal(running.process.exitCode, null, 'and the same server')
  })
}
