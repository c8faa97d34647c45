/**
 * Tests startup with an unusable token, with a native binding that has not been built, and with the master key on a
 * token.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { latchkey } from '../support/cli.ts'
import { findLeaks, planted } from '../support/leaks.ts'
import { backendYaml } from '../support/pkcs11/backend-config.ts'
import { createSoftHsm, createTokenKeys } from '../support/pkcs11/tokens.ts'
import { workspaceOn } from '../support/pkcs11/workspace.ts'

t.jobs = 1

void t.test(
  'with incompatible settings, startup fails with one clear error and code 78',
  async (t) => {
    const token = await createSoftHsm(t, ['xks', 'twice', 'twice'])
    await createTokenKeys(t, token, [{ label: 'double' }, { label: 'double' }])
    const { run, configure, folder } = await workspaceOn(t, token)
    const notBuilt = join(folder, 'not-built.cjs')
    await writeFile(notBuilt, 'process.dlopen = () => { throw new Error("no such file") }\n')
    const pin = { file: token.pinFile }
    const wrongPin = join(folder, 'wrong-pin')
    const planted15 = randomBytes(15).toString('hex')
    await writeFile(wrongPin, planted15, { mode: 0o600 })
    const cases = [
      [/does not exist|cannot load/, { module: join(folder, 'none.so') }],
      [/cannot load .* as a PKCS#11 module/, { module: process.execPath }],
      [/two tokens have label "twice"/, { tokens: [{ label: 'twice', pin }] }],
      [/PIN_INCORRECT/, { tokens: [{ label: 'xks', pin: { file: wrongPin } }] }],
      [
        /pkcs11js, which calls PKCS#11 modules, cannot be loaded/,
        {
          environment: [...backendYaml(token).environment, `NODE_OPTIONS=--require=${notBuilt}`],
        },
      ],
    ] as const
    for (const [message, backend] of cases) {
      await configure({ backend })
      const { code, stderr, stdout } = await run('serve')
      t.equal(code, 78, stderr)
      t.match(stderr, message)
      t.match(stderr, /^latchkey: error: .*\nlatchkey: hint: .*\n$/, 'one error, and what to do')
      const leaks = [planted('the PIN', token.pin), planted('the wrong PIN', planted15)]
      t.same(findLeaks(stderr + stdout, leaks), [])
    }
    await configure({})
    t.match(await run('keys', 'rotate', 'double'), {
      code: 78,
      stderr: /2 keys on the token are named "double", with the ids/,
    })
  },
)

void t.test('without pkcs11js, software keys work', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-no-pkcs11-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  t.match(await latchkey(t, ['init'], { cwd: folder }), { code: 0 })
  const notBuilt = join(folder, 'not-built.mjs')
  await writeFile(
    notBuilt,
    `import module from 'node:module'
     const load = module._load
     module._load = (name, ...rest) => {
       if (name === 'pkcs11js') throw new Error('pkcs11js is not there')
       return load(name, ...rest)
     }\n`,
  )
  const nodeFlags = [`--import=${notBuilt}`]
  t.match(await latchkey(t, ['keys', 'create', 'k'], { cwd: folder, nodeFlags }), { code: 0 })
})

void t.test("the store's master key can be on the token", async (t) => {
  const token = await createSoftHsm(t)
  const masterKey = { pkcs11: { backend: 'hsm' } }
  const { run, configure, folder } = await workspaceOn(t, token, {
    masterKey,
    keyStore: { backend: 'software' },
  })
  t.match(await run('keys', 'create', 'k'), { code: 0 })
  t.match(await run('keys', 'list'), { code: 0, stdout: /^k +ENABLED/m })
  const file = await readFile(join(folder, 'latchkey.db'))
  t.ok(file.includes('pkcs11'), 'the record says of what kind it is')
  await configure({ masterKey, backend: { keys: { by: 'label' } } })
  t.match(JSON.parse((await run('keys', 'list', '--json')).stdout), [], 'it is no key of callers')
  t.match(await run('keys', 'create', 'latchkey master key'), { code: 65 })

  const other = await createSoftHsm(t)
  const elsewhere = backendYaml(other)
  await configure({ masterKey, backend: elsewhere })
  const missing = await run('keys', 'list')
  t.match(missing, { code: 77, stderr: /the token has no key "latchkey master key"/ })
  await createTokenKeys(t, other, [{ label: 'latchkey master key' }])
  t.match(await run('keys', 'list', '--json'), { code: 1, stderr: /MASTER_KEY_WRONG/ })
})
