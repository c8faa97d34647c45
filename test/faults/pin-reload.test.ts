/** Tests that a running server tries each PIN only once per component, and applies a corrected PIN file on SIGHUP. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import t from 'tap'
import { sha256 } from '../support/admin.ts'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { HSM_KEY, startHsmServer } from '../support/pkcs11/hsm-server.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { eventually } from '../support/server.ts'

t.jobs = 1
t.setTimeout(120_000)

const PIN_INCORRECT = 0xa0
const PLAIN = { plaintext: Buffer.alloc(32) }
const VIEWER = 'latchkey_token_of_the_viewer'

void t.test('a corrected PIN file is applied on SIGHUP', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const { control } = token
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const { hsm, running } = await startHsmServer(t, token)
  const isServed = async () => (await hsm.encrypt(HSM_KEY, PLAIN)).status === 200
  await eventually(isServed)
  control.plan('C_Login', { rv: PIN_INCORRECT })
  control.dropSessions()
  t.notOk(await isServed())
  await eventually(() => control.processes().length === 0)
  control.heal()
  const logins = control.count('C_Login').calls
  await writeFile(token.pinFile, '99999999\n')
  running.process.kill('SIGHUP')
  await eventually(() => control.count('C_Login').calls === logins + 1)
  t.notOk(await isServed())
  await writeFile(token.pinFile, `${token.pin}\n`)
  running.process.kill('SIGHUP')
  await eventually(isServed)
  t.match(control.count('C_Login'), { failed: 2 })
})

void t.test('all callers of the admin listener share one login, which is tried once', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const { control } = token
  await createTokenKeys(t, token, [{ label: HSM_KEY }])
  const admin = {
    port: 0,
    tokens: [{ name: 'viewer', role: 'viewer', sha256: sha256(VIEWER) }],
  }
  const { running, adminPort } = await startHsmServer(t, token, {
    ...{ config: { admin }, backend: { sessions: { min: 1, max: 1 } } },
  })
  const list = async () => {
    const address = `http://127.0.0.1:${String(adminPort)}/admin/v1/keys/hsm`
    return (await fetch(address, { headers: { authorization: `Bearer ${VIEWER}` } })).status
  }
  const listOften = async () => [
    ...(await Promise.all([list(), list(), list()])),
    ...[await list(), await list()],
  ]
  const logins = () => control.count('C_Login').calls - before
  const before = control.count('C_Login').calls
  const serving = control.processes().map(({ pid }) => pid)
  const others = () => control.processes().filter(({ pid }) => !serving.includes(pid))
  t.equal(serving.length, 1)

  control.plan('C_Login', { rv: PIN_INCORRECT })
  t.strictSame(await listOften(), Array(5).fill(503))
  t.equal(logins(), 1, 'one attempt for all calls')
  await eventually(() => others().length === 0)
  control.heal()
  t.strictSame(await listOften(), Array(5).fill(503))
  t.equal(logins(), 1, 'the same PIN is not tried again')

  await writeFile(token.pinFile, '99999999\n')
  running.process.kill('SIGHUP')
  await eventually(async () => (await list()) === 503 && logins() === 2)
  t.strictSame(await listOften(), Array(5).fill(503))
  t.equal(logins(), 2, 'one attempt with another PIN')
  await writeFile(token.pinFile, `${token.pin}\n`)
  running.process.kill('SIGHUP')
  await eventually(async () => (await list()) === 200)
  t.strictSame(await listOften(), Array(5).fill(200))
  t.equal(logins(), 3)
  t.equal(others().length, 1, 'one process, which stays')

  control.plan('C_Login', { rv: PIN_INCORRECT })
  process.kill(others()[0]?.pid ?? NaN, 'SIGKILL')
  await eventually(() => logins() === 4 && others().length === 0)
  t.strictSame(await listOften(), Array(5).fill(503))
  t.equal(logins(), 4, 'a PIN that became wrong is tried once')
  await running.ended('SIGTERM')
  t.equal(control.processes().length, 0)
})
