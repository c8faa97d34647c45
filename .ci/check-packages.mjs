// Builds the .deb and the .rpm, and tries the .deb in a Debian of its own: install, serve, kill, upgrade, remove. It is
// separate from `npm run check`, because it compiles with Go and needs root. The last line is `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { countChecks } from './counted-checks.mjs'
import { buildPackages } from './build-packages.mjs'
import { installPrograms, must, ROOT, run } from './process.mjs'
import { setUp } from './setup.mjs'

const RELEASE = 'bookworm'
const BASE = join(ROOT, `node_modules/.cache/packages/${RELEASE}`)
const VERSIONS = ['0.1.0', '0.1.1']
const { check, fail, finish } = countChecks()

const folder = mkdtempSync(join(tmpdir(), 'latchkey-packages-'))
const root = join(folder, 'root')
const mounts = ['proc', 'dev']

/** Runs a command in the other Debian. @throws unless it succeeds */
const inside = (...words) => must('chroot', [root, ...words], { cwd: '/', timeoutMs: 120_000 })

/** Serves as the unit would, as the user latchkey with the unit's command line, while `work` runs. */
async function whileServing(work) {
  const unit = readFileSync(join(root, 'usr/lib/systemd/system/latchkey.service'), 'utf8')
  const [, command = ''] = /^ExecStart=(.*)$/m.exec(unit) ?? []
  const child = spawn('chroot', ['--userspec=latchkey', root, ...command.split(' ')], {
    env: {
      PATH: '/usr/sbin:/usr/bin:/bin',
      STATE_DIRECTORY: '/var/lib/latchkey',
      NODE_ENV: 'production',
    },
  })
  let output = ''
  const listens = new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk
        if (output.includes('"listening"')) resolve()
      })
    }
    child.once('close', () => reject(new Error(output)))
    child.once('error', reject)
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

/** Unpacks a Debian, once for all runs, and copies it. */
async function prepareRoot() {
  if (!existsSync(join(BASE, 'usr/bin/dpkg'))) {
    rmSync(BASE, { recursive: true, force: true })
    await must('debootstrap', ['--variant=minbase', RELEASE, BASE], { timeoutMs: 550_000 })
  }
  await must('cp', ['-a', BASE, root])
  // debootstrap does not write this file.
  writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n')
  for (const name of mounts) await must('mount', ['--bind', `/${name}`, join(root, name)])
}

async function tryDeb([first, second]) {
  for (const path of [first, second]) cpSync(path, join(root, 'tmp', basename(path)))
  const install = (path) => inside('dpkg', '--install', join('/tmp', basename(path)))
  await check('the .deb installs in a minimal Debian', async () => {
    const output = await install(first)
    if (!output.includes('latchkey init --system')) throw new Error(output)
    return (await inside('latchkey', 'version')).trim().split('\n')[0]
  })
  await check('quickstart: a signed Encrypt', async () => {
    const words = ['quickstart', '--dir', '/tmp/demo', '--port', '0', '--once']
    const output = await inside('latchkey', ...words)
    if (!/Encrypt +200/.test(output)) throw new Error(output)
  })
  await check('init --system; serve as the unit does; keys create; kill', async () => {
    await inside('latchkey', 'init', '--system')
    if (existsSync(join(root, 'etc/systemd/system/latchkey.service')))
      throw new Error('a second unit')
    await must('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', '/CN=localhost'],
      ...['-addext', 'subjectAltName=DNS:localhost'],
      ...['-keyout', join(root, 'etc/latchkey/tls/server.key')],
      ...['-out', join(root, 'etc/latchkey/tls/server.crt')],
    ])
    await inside('chown', 'root:latchkey', '/etc/latchkey/tls/server.key')
    await inside('chmod', '0640', '/etc/latchkey/tls/server.key')
    await whileServing(async (output) => {
      await inside('latchkey', 'keys', 'create', 'my-key')
      const killed = await inside('latchkey', 'kill', '--all', '--reason', 'package check')
      if (!/revoked/.test(killed)) throw new Error(`${killed}\n${output()}`)
    })
  })
  await check('the upgrade keeps store and kill', async () => {
    await install(second)
    const status = await inside('dpkg-query', '--show', 'latchkey')
    if (!status.includes(VERSIONS[1])) throw new Error(status)
    await whileServing(async () => {
      const { stdout } = await run('chroot', [root, 'latchkey', 'status'], { cwd: '/' })
      if (!/package check/.test(stdout)) throw new Error(stdout)
    })
  })
  await check('remove and purge leave keys and configuration', async () => {
    await inside('dpkg', '--remove', 'latchkey')
    for (const path of ['usr/lib/latchkey', 'usr/bin/latchkey']) {
      if (existsSync(join(root, path))) throw new Error(`${path} is left`)
    }
    await inside('dpkg', '--purge', 'latchkey')
    for (const name of ['etc/latchkey/latchkey.yaml', 'var/lib/latchkey/master.key']) {
      if (!existsSync(join(root, name))) throw new Error(`${name} is gone`)
    }
    await install(first)
    const { stdout } = await run('chroot', [root, 'latchkey', 'status'], { cwd: '/' })
    if (!/package check/.test(stdout)) throw new Error(stdout)
  })
  await check('the man pages are clean, and the completion completes', async () => {
    const share = join(root, 'usr/share')
    for (const page of ['man1/latchkey.1.gz', 'man5/latchkey.yaml.5.gz']) {
      const file = join(share, 'man', page)
      const { code, output } = await run('sh', [
        '-c',
        `zcat ${file} | groff -man -Tutf8 -ww -z 2>&1`,
      ])
      if (code !== 0 || output !== '') throw new Error(output)
    }
    const script = `. ${share}/bash-completion/completions/latchkey
      COMP_WORDS=(latchkey keys cre); COMP_CWORD=2; _latchkey; echo "\${COMPREPLY[@]}"
      COMP_WORDS=(latchkey kill --rea); _latchkey; echo "\${COMPREPLY[@]}"`
    const output = await must('bash', ['-c', script])
    if (output !== 'create\n--reason\n') throw new Error(output)
  })
}

try {
  await installPrograms({
    debootstrap: 'debootstrap',
    rpm: 'rpm',
    groff: 'groff-base',
    go: 'golang',
    openssl: 'openssl',
  })
  await setUp(() => undefined)
  const packages = {}
  await check('nfpm builds the .deb and the .rpm', async () => {
    for (const version of VERSIONS) {
      const target = join(folder, version)
      mkdirSync(target)
      packages[version] = await buildPackages(target, { version })
    }
    return Object.values(packages)
      .flat()
      .map((path) => basename(path))
      .join(', ')
  })
  await prepareRoot()
  await tryDeb(VERSIONS.map((version) => packages[version][0]))
  await check('the .rpm has the same files', async () => {
    const [deb, rpm] = packages[VERSIONS[0]]
    const list = async (command) =>
      (await must('sh', ['-c', command]))
        .split('\n')
        .map((line) => line.replace(/^\.?\//, '').trim())
        .filter((line) => line.startsWith('usr/') && !line.endsWith('/'))
        .sort()
    const inDeb = await list(`dpkg-deb --fsys-tarfile ${deb} | tar -t`)
    const inRpm = new Set(await list(`rpm -qlp ${rpm} 2>/dev/null`))
    const missing = inDeb.filter((name) => !inRpm.has(name))
    if (missing.length > 0) throw new Error(missing.slice(0, 10).join('\n'))
    return `${inDeb.length} files`
  })
} catch (error) {
  fail(error)
} finally {
  for (const name of mounts) await run('umount', ['--lazy', join(root, name)])
  // If a folder were still mounted here, this would delete its contents on the host.
  const { stdout } = await run('sh', ['-c', `grep -c ' ${root}/' /proc/self/mounts`])
  if (stdout.trim() === '0') rmSync(folder, { recursive: true, force: true })
  else process.stdout.write(`${folder} is still mounted\n`)
}
finish()
