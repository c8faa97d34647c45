/** Tests the commands for keys on a token, and the output of `pkcs11 probe`. */
// SPDX-License-Identifier: Apache-2.0
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { latchkeyHere, workspace } from '../support/cli.ts'
import { findLeaks, planted } from '../support/leaks.ts'
import { backendYaml } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { workspaceOn } from '../support/pkcs11/workspace.ts'
import { read } from '../support/repository.ts'
import { openPage, toWords } from '../support/shown-commands.ts'

t.jobs = 1

void t.test('keys are created, listed, rotated and destroyed on the token', async (t) => {
  const token = await createSoftHsm(t)
  const { run } = await workspaceOn(t, token)
  t.match(await run('keys', 'create', 'payroll', '--backend', 'hsm'), { code: 0 })
  const again = await run('keys', 'create', 'payroll', '--json')
  t.match(again, { code: 1, stderr: /KEY_EXISTS/ }, 'one that is there is not replaced')
  t.match(await run('keys', 'rotate', 'payroll'), { code: 0, stdout: /version 2/ })
  t.match(await run('keys', 'create', 'archive', '--usage', 'decrypt'), { code: 0 })
  const listed = JSON.parse((await run('keys', 'list', '--json')).stdout) as unknown
  t.match(listed, [
    { keyId: 'archive', canEncrypt: false, canDecrypt: true },
    {
      keyId: 'payroll',
      canEncrypt: true,
      versions: [
        { version: 1, state: 'PREVIOUS', token: { label: 'payroll', isExtractable: false } },
        { version: 2, state: 'CURRENT', token: { label: 'payroll@2', id: /^[0-9a-f]{32}$/ } },
      ],
    },
  ])
  t.equal((listed as unknown[]).length, 2, 'and not the key for health checks')
  t.match(await run('keys', 'destroy-version', 'payroll', '2', '--yes'), { code: 1 }, 'the current')
  t.match(await run('keys', 'destroy-version', 'payroll', '1', '--yes'), { code: 0 })
  t.match(await run('keys', 'disable', 'payroll', '--yes'), { code: 0, stdout: /DISABLED/ })
  t.match(await run('keys', 'list'), { stdout: /payroll +DISABLED +encrypt,decrypt +2:CURRENT/ })
})

void t.test('with CKA_ID, the key id is its hexadecimal form', async (t) => {
  const token = await createSoftHsm(t)
  const { run } = await workspaceOn(t, token, { backend: { keys: { by: 'id' } } })
  t.match(await run('keys', 'create', 'c0ffee'), { code: 0 })
  t.match(await run('keys', 'rotate', 'c0ffee'), { code: 0, stdout: /version 2/ })
  t.match(JSON.parse((await run('keys', 'list', '--json')).stdout), [
    { keyId: 'c0ffee', versions: [{ token: { id: 'c0ffee' } }, { token: { id: 'c0ffee' } }] },
  ])
})

void t.test('probe shows tokens, keys and the iv that works, but no PIN', async (t) => {
  const token = await createSoftHsm(t, ['xks', 'another'])
  const { run } = await workspaceOn(t, token)
  await run('keys', 'create', 'payroll')
  const { code, stdout, stderr } = await run('pkcs11', 'probe')
  t.equal(code, 0, stderr)
  t.match(stdout, /token +"xks", serial [0-9a-f]{16}/)
  t.match(stdout, /token +"another"/)
  t.match(stdout, /mechanisms +CKM_AES_KEY_GEN, CKM_AES_GCM/)
  t.match(stdout, / iv +host\n/)
  t.match(stdout, /"payroll" +id [0-9a-f]{32} +encrypt,decrypt, sensitive, not extractable/)
  const json = await run('pkcs11', 'probe', '--json')
  t.match(JSON.parse(json.stdout), { tokens: [{ iv: 'host', facts: { label: 'xks' } }] })
  const shown = stdout + stderr + json.stdout + json.stderr
  t.same(findLeaks(shown, [planted('the PIN', token.pin)]), [])
  const listed = JSON.parse((await run('keys', 'list', '--json')).stdout) as unknown[]
  t.equal(listed.length, 1, 'nothing is left of it on the token')
})

const CKM_AES_CBC = 0x1082
const CKM_AES_GCM = 0x1087

void t.test('keys are checked as a server would check them', async (t) => {
  const token = await createSoftHsm(t, ['Zürich HSM'])
  await createTokenKeys(t, token, [
    ...['good', 'twice', 'twice'].map((label, i) => ({ label, id: `0${String(i)}` })),
    { label: 'short', bytes: 16 },
    { label: 'gcm', allowed: [CKM_AES_CBC, CKM_AES_GCM] },
    { label: 'cbc', allowed: [CKM_AES_CBC] },
  ])
  const { run } = await workspaceOn(t, token)
  const { code, stdout, stderr } = await run('keys', 'list')
  t.equal(code, 0, stderr)
  for (const [keyId, status] of [
    ['cbc', 'UNUSABLE'],
    ['gcm', 'ENABLED'],
    ['good', 'ENABLED'],
    ['short', 'UNUSABLE'],
    ['twice', 'AMBIGUOUS'],
  ] as const)
    t.match(stdout, new RegExp(`^${keyId} +${status} `, 'm'))
  t.match(stdout, /^cbc: the key "cbc" does not allow AES-GCM/m)
  t.match(stdout, /^short: the key "short" is not an AES-256 key$/m)
  t.match(stdout, /^twice: 2 keys on the token are named "twice", with the ids 01, 02$/m)
  const listed = JSON.parse((await run('keys', 'list', '--json')).stdout) as unknown
  t.match(listed, [{ keyId: 'cbc', problem: { kind: 'UNUSABLE' } }])
})

void t.test('killing a key that was created on the token prints no warning', async (t) => {
  const token = await createSoftHsm(t)
  const { run } = await workspaceOn(t, token)
  t.match(await run('keys', 'create', 'payroll'), { code: 0 })
  const kill = (key: string) => run('kill', '--key', key, '--reason', 'test', '--no-wait')
  t.notMatch((await kill('payroll')).stderr, /no known key/)
  t.match((await kill('payrol')).stderr, /no known key payrol/, 'and a misspelt one has it')
})

void t.test('the master key moves from a file to a token and back', async (t) => {
  const token = await createSoftHsm(t)
  const { run, configure, folder } = await workspaceOn(t, token)
  t.match(await run('store', 'rekey'), { code: 64, stderr: /expected one of --new-master-key/ })
  const onto = ['store', 'rekey', '--yes', '--new-token-key', 'latchkey wrapping']
  t.match(await run(...onto, '--backend', 'none'), { code: 64, stderr: /expected one of: hsm/ })
  t.match(await run('store', 'rekey', '--new-token-key', 'payroll'), { code: 65 })
  const moved = await run(...onto)
  t.equal(moved.code, 0, moved.stderr)
  t.not((await run('status')).code, 0, 'the file opens it no more')
  await rm(join(folder, 'master.key'))
  await configure({ masterKey: { pkcs11: { backend: 'hsm', label: 'latchkey wrapping' } } })
  t.match(await run('status'), { code: 0 })
  t.match(await run('keys', 'create', 'payroll'), { code: 0 })
  const second = join(folder, 'second.key')
  t.match(await run('store', 'rekey', '--yes', '--new-master-key', second), { code: 0 })
  t.not((await run('status')).code, 0)
  await configure({ masterKey: { file: 'second.key' } })
  t.match(await run('keys', 'list'), { code: 0, stdout: /payroll +ENABLED/ })
})

interface MovedSettings {
  readonly backends: readonly [object]
  readonly keyStores: readonly Record<string, unknown>[]
}

/** Checks to ignore: the test server has no public name or public certificate, and may be too slow for KMS. */
const IGNORED = 'host-name,port,tls-authority,time-encrypt,time-decrypt,time-new-connection'
const TRIAL = ['--idle', '1', '--requests', '20']

void t.test("docs/moving.md: Latchkey serves the sample proxy's keys on SoftHSM", async (t) => {
  const document = 'docs/moving.md'
  const page = openPage(document)
  const token = await createSoftHsm(t, ['payroll'])
  await createTokenKeys(t, token, [
    { label: 'foo', id: '01' },
    { label: 'other', id: '02' },
  ])
  const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(read(document)) ?? []
  const { backends, keyStores } = parse(example) as MovedSettings
  const backend = { ...backends[0], ...backendYaml(token, { deadlines: { start: '60s' } }) }
  const place = await workspace(t, {
    keyStores,
    settings: { backends: [backend], limits: { requestDeadline: '20s' } },
  })
  const environment = page.environment({ '/etc/latchkey/latchkey.yaml': place.configFile })
  const run = async (words: readonly string[]) => {
    const { code, stdout, stderr } = await latchkeyHere(words, environment)
    t.equal(code, 0, `latchkey ${words.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  await run(page.take('config check'))
  t.match(await run(page.take('pkcs11 probe')), / iv +host\n/)
  t.match(await run(page.take('keys list')), /^foo +ENABLED[^]*^other +ENABLED/m)
  const [, disable = ''] = /`latchkey (keys disable [^`]*)`/.exec(read(document)) ?? []
  await run(toWords(disable).map((word) => (word === 'KEY_ID' ? 'other' : word)))
  const sample = join(place.folder, 'sample.json')
  const pair = { AccessKeyId: 'AKIA4GBY3I6JCE5M2HPM', RawSecretAccessKey: 'Aa1'.repeat(15) }
  const text = JSON.stringify({ XksProxyAuthenticationCredential: pair })
  await writeFile(sample, text, { mode: 0o600 })
  await run(page.take('credentials create', { 'sample.json': sample }))
  const { port } = await place.serve()
  const path = '/example/uri/path/prefix/kms/xks/v1'
  const doctor = page.take('doctor', {
    [`https://xks.example.com:8443${path}`]: `https://localhost:${String(port)}${path}`,
    ...{ port: IGNORED, 'sample.json': sample },
  })
  await run([...doctor, '--ca', place.caFile, ...TRIAL])
  t.same(page.remaining(), [], 'every command in docs/moving.md has been run')
})
