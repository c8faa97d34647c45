/** Tests that a running server applies a corrected PIN file at SIGHUP, and tries it once. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import t from 'tap'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.jobs = 1
t.setTimeout(120_000)

const PIN_INCORRECT = 0xa0
const PATIENCE_MS = 30_000
const PLAIN = { plaintext: Buffer.alloc(32) }

void t.test('a PIN file that was corrected is taken over at SIGHUP', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const { control } = token
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const { hsm, running } = await startHsmServer(t, token)
  const isServed = async () => (await hsm.encrypt(HSM_KEY, PLAIN)).status === 200
  await eventually(isServed, PATIENCE_MS)
  control.plan('C_Login', { rv: PIN_INCORRECT })
  control.dropSessions()
  t.notOk(await isServed())
  await eventually(() => control.processes().length === 0, PATIENCE_MS)
  control.heal()
  const logins = control.count('C_Login').calls
  await writeFile(token.pinFile, '99999999\n')
  running.process.kill('SIGHUP')
  await eventually(() => control.count('C_Login').calls === logins + 1, PATIENCE_MS)
  t.notOk(await isServed())
  await writeFile(token.pinFile, `${token.pin}\n`)
  running.process.kill('SIGHUP')
  await eventually(isServed, PATIENCE_MS)
  t.match(control.count('C_Login'), { failed: 2 })
})
