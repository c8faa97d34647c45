/** Tests that a failed operation changes the health status without waiting for the next periodic check. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

void t.test('a token that fails is UNAVAILABLE as soon as an operation has failed', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const config = { health: { interval: '50s' }, limits: { requestDeadline: '2s' } }
  const { hsm } = await startHsmServer(t, token, { config })
  const encrypt = async () => (await hsm.encrypt(HSM_KEY, { plaintext: Buffer.alloc(32) })).status
  const status = async () => {
    const { body } = await hsm.getHealthStatus()
    return (body as { ekmFleetDetails: readonly { healthStatus: string }[] }).ekmFleetDetails[0]
      ?.healthStatus
  }
  await eventually(async () => (await encrypt()) === 200 && (await status()) === 'ACTIVE')
  token.control.plan('C_EncryptInit', { crash: 'SIGABRT' })
  const since = performance.now()
  t.not(await encrypt(), 200)
  await eventually(async () => (await status()) === 'UNAVAILABLE')
  t.ok(performance.now() - since < 40_000, 'long before the next check of the interval')
})
