/**
 * Tests `pkcs11 certify`: its report, and that the token is left unchanged even if the command is interrupted or
 * killed.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openTokenWorkplace } from '../../src/app/token-workplace.ts'
import { CHECKS, runCheck } from '../../src/keys/suite/suite.ts'
import { type Running, startLatchkey } from '../support/cli.ts'
import { findLeaks, planted } from '../support/leaks.ts'
import { backendConfig } from '../support/pkcs11/backend-config.ts'
import { withFaults } from '../support/pkcs11/fault-module.ts'
import { createSoftHsm, createTokenKeys, type TestToken } from '../support/pkcs11/tokens.ts'
import { workspaceOn } from '../support/pkcs11/workspace.ts'
import { eventually } from '../support/server.ts'

t.jobs = 1
t.setTimeout(300_000)

const ACTION_PROHIBITED = 0x1b

/**
 * Returns the token's object files by name. Skips empty files: SoftHSM ignores them, and leaves one behind when it is
 * killed while creating a key.
 */
function objectsOf({ folder }: TestToken): ReadonlyMap<string, string> {
  const tokens = join(folder, 'tokens')
  const files = readdirSync(tokens, { recursive: true, encoding: 'utf8' })
  return new Map(
    files
      .filter((name) => name.endsWith('.object') && !name.endsWith('token.object'))
      .sort()
      .map((name) => [name, readFileSync(join(tokens, name))] as const)
      .filter(([, bytes]) => bytes.length > 0)
      .map(([name, bytes]) => [name, createHash('sha256').update(bytes).digest('hex')]),
  )
}

const notes = (running: Running, text: RegExp) => eventually(() => text.test(running.stderr()))

/** Returns false for a zombie too: it has exited, but its parent has not read its exit code. */
function isRunning(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== ''
  } catch {
    return false
  }
}

/**
 * Kills a command, and waits until its PKCS#11 module processes have exited: each first finishes its current call,
 * which may create a key.
 */
async function killWhole({ process: { pid = 0 }, ended }: Running): Promise<void> {
  const listed = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  const children = listed.split(' ').filter((one) => one !== '')
  await ended('SIGKILL')
  await eventually(() => !children.some(isRunning))
}

void t.test('a working token passes and is left unchanged', async (t) => {
  const token = await createSoftHsm(t, ['a label that is planted'])
  await createTokenKeys(t, token, [
    { label: 'payroll' },
    { label: 'latchkey-certify', id: '01' },
    { label: 'key', id: '02' },
  ])
  const { run } = await workspaceOn(t, token)
  const before = objectsOf(token)
  t.equal(before.size, 3)
  const words = ['pkcs11', 'certify', '--duration', '1', '--sessions', '2']
  const { code, stdout, stderr } = await run(...words, '--json')
  t.equal(code, 0, stderr)
  const report = JSON.parse(stdout) as {
    readonly contract: { readonly checks: readonly { check: string; assertions: number }[] }
    readonly faults: readonly object[]
    readonly token: { readonly manufacturer: string }
  }
  t.match(report, {
    ...{ hasPassed: true, iv: 'host', leftKeys: 0, mechanisms: ['CKM_AES_KEY_GEN', 'CKM_AES_GCM'] },
    speed: { rows: [{ sessions: 1 }, { sessions: 2 }] },
  })
  t.same(
    report.contract.checks.map(({ check }) => check),
    Object.keys(CHECKS),
  )
  t.ok(report.contract.checks.every(({ assertions }) => assertions > 0))
  t.equal(report.faults.length, 7)
  t.same(objectsOf(token), before)
  const private_ = [
    planted('the PIN', token.pin),
    planted('the label', token.label),
    planted('the folder', token.folder),
  ]
  t.same(findLeaks(stdout, private_), [], 'the report can be handed on')
})

void t.test(
  'keys are destroyed after an interrupt, and on request after a killed run',
  async (t) => {
    const token = await createSoftHsm(t)
    await createTokenKeys(t, token, [{ label: 'payroll' }])
    const { folder } = await workspaceOn(t, token)
    const before = objectsOf(token)
    const start = (...flags: readonly string[]) =>
      startLatchkey(t, ['pkcs11', 'certify', ...flags], { cwd: folder })

    const killed = start()
    await notes(killed, /2 of \d+:/)
    await killWhole(killed)
    t.ok(objectsOf(token).size > before.size, 'nobody could destroy them')

    const careful = start()
    await notes(careful, /left \d+ keys on the token; pass --remove-leftovers/)
    await killWhole(careful)

    const interrupted = start('--remove-leftovers')
    await notes(interrupted, /destroyed \d+ keys from earlier runs/)
    await notes(interrupted, /2 of \d+:/)
    const { code, stderr } = await interrupted.ended('SIGINT')
    t.equal(code, 1)
    t.match(stderr, /error: interrupted; the test keys were destroyed/)
    t.same(objectsOf(token), before)
  },
)

void t.test('a wrong iv mode is rejected before anything is created', async (t) => {
  const token = await createSoftHsm(t)
  const { run } = await workspaceOn(t, token, { backend: { iv: 'hsm-written' } })
  t.match(await run('pkcs11', 'certify'), { code: 78, stderr: /hint: set iv: host/ })
  t.match(await run('pkcs11', 'certify', '--token', 'another'), {
    code: 64,
    stderr: /configured: xks/,
  })
  t.equal(objectsOf(token).size, 0)
})

void t.test('keys that the token refuses to destroy are counted', async (t) => {
  const token = await withFaults(t, await createSoftHsm(t))
  const workplace = await openTokenWorkplace(backendConfig(token))
  t.teardown(() => workplace.close())
  const open = await workplace.open()
  await open.close()
  token.control.plan('C_DestroyObject', { rv: ACTION_PROHIBITED })
  t.equal(await workplace.discard(), 1, 'the health key')
  token.control.heal()
  t.equal(await workplace.discard(), 0)
})

void t.test('a failed check reports what it found', async (t) => {
  const failing = await runCheck(
    'encrypting a plaintext twice yields different ciphertexts',
    () => Promise.reject(new TypeError('no key store')),
    { maxPlaintextBytes: 1, ivSamples: 1, importsKeys: false, firstEncryptWaits: false },
  )
  t.match(failing, { assertions: 0, faults: ['TypeError: no key store'] })
})
