// Builds the .deb and the .rpm, and tests each in a separate Debian root: runs the commands from docs/install.md up to
// a signed Encrypt request, then tests a kill, an upgrade and a removal. These checks are not part of `npm run check`,
// because they compile Go programs and require root. The last line is `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { countChecks } from './counted-checks.mjs'
import { buildPackages } from './build-packages.mjs'
import { built } from './chart-site.mjs'
import { createPackageRoot, PLACE } from './package-root.mjs'
import { installPrograms, must, run } from './process.mjs'
import { setUp } from './setup.mjs'
import { findCommand, shownCommands } from './shown-commands.mjs'

const VERSIONS = ['0.1.0', '0.1.1']
/** Host name in the commands of docs/install.md. The Debian root's /etc/hosts defines it. */
const HOST = 'xks.example.com'
const { check, fail, finish } = countChecks()
const commands = shownCommands('docs/install.md', 'Debian and RPM')

const folder = mkdtempSync(join(tmpdir(), 'latchkey-packages-'))
const hosts = `127.0.0.1 localhost ${HOST}\n`
const { root, inside, typeInside, toInside, withRoot, takeCalls, kinds } = createPackageRoot({
  folder,
  hosts,
})

/** Runs the systemd unit's command line as the user `latchkey` while `work` runs. */
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

/**
 * Creates a certificate issued by a private authority.
 * @returns the file name of the authority's certificate
 */
async function putCertificate() {
  const { createAuthority, issueCertificate } = await built('certs/dev-pki.js')
  const authority = await createAuthority('packages CA')
  const subject = { commonName: HOST, names: [HOST], usage: 'server' }
  const { certificate, privateKey } = await issueCertificate(authority, subject)
  const put = (name, text) => writeFileSync(join(root, PLACE, name), text, { mode: 0o600 })
  put('server.crt', certificate)
  put('server.key', privateKey)
  put('ca.crt', authority.certificatePem)
  return 'ca.crt'
}

/**
 * Runs the commands of docs/install.md from `init --system` to `doctor`, which sends a signed Encrypt request. Then
 * tests a kill.
 */
async function serveAsShown() {
  const first = findCommand(commands, /^latchkey init /)
  const start = findCommand(commands, /^systemctl enable --now latchkey$/)
  const last = findCommand(commands, /^latchkey doctor /)
  if (last !== commands.length - 1) throw new Error('the page ends with another command')
  const ca = await putCertificate()
  for (const command of commands.slice(first, start + 1)) await typeInside(command)
  expectCalls(['enable --now latchkey'])
  if (existsSync(join(root, 'etc/systemd/system/latchkey.service')))
    throw new Error('a second unit')
  await whileServing(async (output) => {
    for (const command of commands.slice(start + 1, last)) await typeInside(command)
    const trial = `--ignore port,tls-authority --ca ${ca} --idle 1 --requests 20`
    const said = await typeInside(commands[last].replace('--ignore port', trial))
    if (!/Encrypt/.test(said)) throw new Error(said)
    const killed = await inside('latchkey', 'kill', '--all', '--reason', 'package check')
    if (!/revoked/.test(killed)) throw new Error(`${killed}\n${output()}`)
  })
}

/** Checks that `systemctl` was called as expected since the previous check. Repeated calls count once. */
function expectCalls(expected) {
  const calls = [...new Set(takeCalls().trimEnd().split('\n'))].sort()
  if (calls.join() !== [...expected].sort().join()) throw new Error(`systemctl: ${calls}`)
}

async function tryPackage(kind, [first, second]) {
  const { shown, prepare, install, upgrade, version, remove, purge } = kinds[kind]
  await prepare()
  for (const path of [first, second]) cpSync(path, join(root, toInside(path)))
  const installation = commands[findCommand(commands, shown)]
  await check(`the .${kind} installs in a minimal Debian`, async () => {
    const output = await install(installation)
    if (!output.includes('latchkey init --system')) throw new Error(output)
    expectCalls(['daemon-reload', 'try-restart latchkey.service'])
    return (await inside('latchkey', 'version')).trim().split('\n')[0]
  })
  await check(`${kind}: quickstart, a signed Encrypt`, async () => {
    const command = commands[findCommand(commands, /^latchkey quickstart /)]
    const output = await typeInside(`${command} --port 0`)
    if (!/Encrypt +200/.test(output)) throw new Error(output)
  })
  await check(`${kind}: a service with a signed Encrypt, as the page shows; kill`, serveAsShown)
  await check(`${kind}: the upgrade keeps store and kill`, async () => {
    await upgrade(second)
    const status = await version()
    if (!status.includes(VERSIONS[1])) throw new Error(status)
    expectCalls(['daemon-reload', 'try-restart latchkey.service'])
    await whileServing(async () => {
      const { stdout } = await run('chroot', [root, 'latchkey', 'status'], { cwd: '/' })
      if (!/package check/.test(stdout)) throw new Error(stdout)
    })
  })
  await check(`${kind}: a removal leaves keys and configuration`, async () => {
    await remove()
    expectCalls(['--no-reload disable --now latchkey.service', 'daemon-reload'])
    for (const path of ['usr/lib/latchkey', 'usr/bin/latchkey', 'usr/share/doc/latchkey']) {
      if (existsSync(join(root, path))) throw new Error(`${path} is left`)
    }
    await purge()
    for (const name of ['etc/latchkey/latchkey.yaml', 'var/lib/latchkey/master.key']) {
      if (!existsSync(join(root, name))) throw new Error(`${name} is gone`)
    }
    await install(installation)
    const { stdout } = await run('chroot', [root, 'latchkey', 'status'], { cwd: '/' })
    if (!/package check/.test(stdout)) throw new Error(stdout)
  })
}

/** Builds the packages for the version in package.json, with the command from docs/install.md. */
async function buildAsShown(target) {
  const command = commands[findCommand(commands, /^npm run packages$/)]
  await must('sh', ['-c', `${command} -- ${target}`], { timeoutMs: 3_600_000 })
  const files = readdirSync(target).map((name) => join(target, name))
  return ['.deb', '.rpm'].map((end) => files.find((file) => file.endsWith(end)))
}

async function checkManual() {
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
  })
  await setUp(() => undefined)
  const packages = {}
  await check('nfpm builds the .deb and the .rpm', async () => {
    for (const version of VERSIONS) {
      const target = join(folder, version)
      mkdirSync(target)
      packages[version] =
        version === VERSIONS[0]
          ? await buildAsShown(target)
          : await buildPackages(target, { version })
    }
    return Object.values(packages)
      .flat()
      .map((path) => basename(path))
      .join(', ')
  })
  await withRoot(async () => {
    await tryPackage(
      'deb',
      VERSIONS.map((version) => packages[version][0]),
    )
    await checkManual()
  })
  await withRoot(() =>
    tryPackage(
      'rpm',
      VERSIONS.map((version) => packages[version][1]),
    ),
  )
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
  if (existsSync(root)) process.stdout.write(`${root} is left\n`)
  else rmSync(folder, { recursive: true, force: true })
}
finish()
