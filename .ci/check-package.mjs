// Runs the package's commands from docs/install.md in an empty folder, then tests a kill and probes an HSM module.
// These checks are not part of `npm run check`, because they compile native add-ons. The last line is `N passed, N
// failed`.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { countChecks } from './counted-checks.mjs'
import { findHeaders } from './native.mjs'
import { installPrograms, must, ROOT, run } from './process.mjs'
import { findCommand, shownCommands } from './shown-commands.mjs'

const NAME = '@latchkey/latchkey'
/** Files in the package that are not in dist/src or dist/certs. */
const OTHERS = [
  ...['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md'],
  ...['openapi.yaml', 'package.json'],
  'docker/systemd/latchkey.service',
  ...['binding.gyp', 'build/Release/lease_guard.node', 'lease-guard.c'].map(
    (name) => `src/killswitch/gate/guard/${name}`,
  ),
  ...['binding.gyp', 'build/Release/row_codes.node', 'row-codes.c'].map(
    (name) => `src/store/row-codes/${name}`,
  ),
  ...['binding.gyp', 'build/Release/token_gcm.node', 'token-gcm.c'].map(
    (name) => `src/keys/pkcs11/worker/gcm/${name}`,
  ),
]
const { check, fail, finish } = countChecks()

const folder = mkdtempSync(join(tmpdir(), 'latchkey-package-'))
const prefix = join(folder, 'prefix')
const latchkey = join(prefix, 'node_modules/.bin/latchkey')
const here = { cwd: folder, timeoutMs: 600_000 }
const commands = shownCommands('docs/install.md', 'The package')
const isRun = new Set()
const demo = join(folder, 'demo')
const config = join(demo, 'latchkey.yaml')

/**
 * Runs the command from docs/install.md that matches `pattern`, with /opt/latchkey replaced by the check's own prefix.
 */
async function runShown(pattern, { flags = [], ...options } = {}) {
  const shown = commands[findCommand(commands, pattern)]
  isRun.add(shown)
  const command = shown.replaceAll('/opt/latchkey', prefix)
  const operands = ['-c', [command, ...flags].join(' ')]
  const { code, output, stdout } = await run('sh', operands, { ...here, ...options })
  if (code !== 0) throw new Error(`${command} ended with ${code}:\n${output}`)
  return { output, stdout }
}

async function pack() {
  // Set an origin like that of a clone of a public repository.
  const env = {
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'remote.origin.url',
    GIT_CONFIG_VALUE_0: 'git@git.example.com:owner/latchkey.git',
  }
  const { stdout } = await runShown(/^npm pack$/, {
    cwd: ROOT,
    env,
    flags: ['--json', '--pack-destination', folder],
  })
  const [packed] = Object.values(JSON.parse(stdout))
  return packed
}

/** Runs a server in the background while `work` runs. */
async function whileServing(work) {
  const child = spawn(latchkey, ['serve', '--config', config], { cwd: folder })
  let output = ''
  const listens = new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk
        if (output.includes('"listening"')) resolve()
      })
    }
    child.once('close', () => reject(new Error(output)))
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  try {
    await listens
    await work(() => output)
  } finally {
    child.kill('SIGTERM')
    await ended
  }
}

try {
  await installPrograms({
    'softhsm2-util': 'softhsm2',
    python3: 'python3',
    make: 'make',
    'g++': 'g++',
  })
  await check('npm pack holds what runs, and no more', async () => {
    const packed = await pack()
    const names = packed.files.map(({ path }) => path)
    const others = names
      .filter((path) => !/^dist\/(src|certs)\/.*\.(js|json)$|^node_modules\//.test(path))
      .sort()
    if (others.join() !== [...OTHERS].sort().join()) throw new Error(others.join('\n'))
    const { bundleDependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    if (bundleDependencies !== undefined) throw new Error('package.json was not restored')
    const bundled = packed.bundled.length
    return `${names.length} files, ${bundled} packages, ${Math.round(packed.size / 1024)} KiB`
  })
  await check('package.json in it has addresses and keywords', async () => {
    const [archive] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
    const packed = ['-xzOf', join(folder, archive), 'package/package.json']
    const { repository, bugs, keywords } = JSON.parse(await must('tar', packed))
    const expected =
      'git+https://git.example.com/owner/latchkey.git https://git.example.com/owner/latchkey/issues'
    const found = `${repository?.url} ${bugs}`
    if (found !== expected || !keywords.includes('kms')) throw new Error(found)
  })
  await check('it installs in an empty folder, without a warning', async () => {
    const env = { npm_config_nodedir: await findHeaders(process.execPath, process.versions.node) }
    const { output } = await runShown(/^npm install /, { env, timeoutMs: 1_800_000 })
    if (/EBADENGINE|deprecated/.test(output)) throw new Error(output)
    return (await runShown(/ version$/)).stdout.trim().split('\n')[0]
  })
  await check('its packages are those of the lock file', async () => {
    const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')).packages
    const { packages } = JSON.parse(readFileSync(join(prefix, 'package-lock.json'), 'utf8'))
    let count = 0
    for (const [path, { version }] of Object.entries(packages)) {
      const name = path.replace(new RegExp(`^node_modules/${NAME}/`), '')
      if (name === '' || name === `node_modules/${NAME}`) continue
      count += 1
      if (lock[name]?.version !== version) throw new Error(`${path}: ${version}`)
    }
    if (count < 50) throw new Error(`only ${count} packages`)
    return `${count} packages`
  })
  await check('quickstart: a signed Encrypt, and the command that it prints exists', async () => {
    const { output } = await runShown(/ quickstart /, { flags: ['--port', '0'] })
    if (!/Encrypt +200/.test(output)) throw new Error(output)
    // The path contains an @, so it is quoted for the shell.
    const [, program = ''] = /^\S+ '?([^\s']+)'? simulate /m.exec(output) ?? []
    if (!program.startsWith(prefix) || !existsSync(program)) throw new Error(output)
  })
  await check('every command on the page was run', () => {
    const missed = commands.filter((command) => !isRun.has(command))
    if (missed.length > 0) throw new Error(missed.join('\n'))
    return Promise.resolve(`${commands.length} commands`)
  })
  await check('serve with the guard of the lease, kill, restore', async () => {
    writeFileSync(config, readFileSync(config, 'utf8').replace(/port: 8443/, 'port: 0'))
    await whileServing(async (output) => {
      if (!output().includes('"leaseGuard":"on"')) throw new Error(output())
      const words = ['--all', '--reason', 'package check', '--config', config]
      const killed = await must(latchkey, ['kill', ...words], here)
      if (!/revoked/.test(killed)) throw new Error(killed)
      await must(latchkey, ['restore', ...words, '--yes'], here)
    })
  })
  await check('pkcs11 probe finds a token of SoftHSM', async () => {
    const env = { SOFTHSM2_CONF: join(folder, 'softhsm2.conf'), PIN: '1234' }
    writeFileSync(env.SOFTHSM2_CONF, `directories.tokendir = ${folder}\n`)
    const init = ['--init-token', '--free', '--label', 'token', '--so-pin', '1234', '--pin', '1234']
    await must('softhsm2-util', init, { ...here, env })
    const backend = {
      name: 'hsm',
      kind: 'pkcs11',
      module: '/usr/lib/softhsm/libsofthsm2.so',
      tokens: [{ label: 'token', pin: { env: 'PIN' } }],
    }
    const file = join(dirname(config), 'hsm.yaml')
    writeFileSync(file, `${readFileSync(config, 'utf8')}\nbackends: [${JSON.stringify(backend)}]\n`)
    const output = await must(latchkey, ['pkcs11', 'probe', '--config', file], { ...here, env })
    if (!/CKM_AES_GCM|"token"/.test(output)) throw new Error(output)
  })
} catch (error) {
  fail(error)
} finally {
  if (process.env.KEEP === undefined) rmSync(folder, { recursive: true, force: true })
  else process.stdout.write(`${folder}\n`)
}
finish()
