// Tests the systemd unit without systemd: runs the commands of the section "As a service" in docs/install.md in a
// separate root, where the built project is laid out as npm installs it. In place of `systemctl`, a mount namespace
// reproduces the unit's sandbox: its user, a read-only file system except for the state folder, no home folders,
// private /tmp and /dev, hidden processes of other users, only the capability to bind low ports, its limits and its
// umask. System call and address family filters are not applied.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { built } from './chart-site.mjs'
import { must, ROOT, run } from './process.mjs'
import { checkServing, until } from './serve-check.mjs'
import { findCommand, shownCommands } from './shown-commands.mjs'

/**
 * Settings of the unit that the mount namespace reproduces. If the unit changes, update this list and the namespace
 * below.
 */
const SANDBOX = {
  User: 'latchkey',
  Group: 'latchkey',
  AmbientCapabilities: 'CAP_NET_BIND_SERVICE',
  CapabilityBoundingSet: 'CAP_NET_BIND_SERVICE',
  NoNewPrivileges: 'yes',
  StateDirectory: 'latchkey',
  UMask: '0077',
  ProtectSystem: 'strict',
  ProtectHome: 'yes',
  PrivateTmp: 'yes',
  PrivateDevices: 'yes',
  ProtectProc: 'invisible',
  LimitCORE: '0',
}
const UNIT = 'etc/systemd/system/latchkey.service'
const DEVICES = ['null', 'zero', 'full', 'random', 'urandom']

/** Host name in the commands of docs/install.md. The root's /etc/hosts defines it. */
const HOST = 'xks.example.com'
/**
 * The node_modules folder below the install prefix in docs/install.md, and this package's folder in it. Both are
 * relative to the root.
 */
const MODULES = 'opt/latchkey/node_modules'
const PACKAGE = `${MODULES}/@latchkey/latchkey`
/** Directory in the root in which the commands from docs/install.md run. */
const PLACE = 'srv'

/** @param {{ folder: string, check: Function }} options */
export async function serveUnit({ folder, check }) {
  const root = join(folder, 'unit-root')
  layOutRoot(root)
  const commands = shownCommands('docs/install.md', 'As a service')
  const start = findCommand(commands, /^systemctl enable --now latchkey$/)
  const last = findCommand(commands, /^latchkey doctor /)
  const isMade = await check('unit: the commands of the page, up to the start', async () => {
    if (last !== commands.length - 1) throw new Error('the page ends with another command')
    await putCertificate(root)
    for (const command of commands.slice(0, start)) await typeInRoot(root, command)
    return `${start} commands`
  })
  if (!isMade) return
  const unit = readFileSync(join(root, UNIT), 'utf8')
  await check(
    'unit: it has the sandbox that is tried here, and names files that exist',
    async () => {
      for (const [name, value] of Object.entries(SANDBOX)) {
        const [, found] = new RegExp(`^${name}=(.*)$`, 'm').exec(unit) ?? []
        if (found !== value) throw new Error(`${name}=${found} instead of ${value}`)
      }
      const [, page] = /^Documentation=file:(.*)$/m.exec(unit) ?? []
      await inRoot(root, ['test', '-f', page])
    },
  )
  const service = startService(root, unit)
  try {
    await check('unit: it serves in the sandbox; the rest of the page', async () => {
      const listens = () => service.output.includes('"listening"') || service.code !== undefined
      await until(listens, 'it listens', () => service.output)
      if (service.code !== undefined) throw new Error(service.output)
      for (const command of commands.slice(start + 1, last)) await typeInRoot(root, command)
      // Skip the doctor's `tls-authority` check, because a private authority issued the certificate.
      const trial = '--ignore port,tls-authority --ca ca.crt --idle 1 --requests 20'
      const said = await typeInRoot(root, commands[last].replace('--ignore port', trial))
      if (!/Encrypt/.test(said)) throw new Error(said)
      return `${commands.length - start - 1} commands`
    })
    await check('unit: a signed Encrypt, a kill, a restore', () => {
      const file = join(root, PLACE, 'kms-console.json')
      return checkServing({
        ...{ credential: JSON.parse(readFileSync(file, 'utf8')), keyId: 'my-key' },
        caFile: join(root, PLACE, 'ca.crt'),
        addresses: [{ host: '127.0.0.1', port: portOf(service.output) }],
        execute: (words) => run('unshare', inside(root, ['latchkey', ...words])),
      })
    })
    await check('unit: the sandbox holds', () => checkSandbox(service))
  } finally {
    await check('unit: SIGTERM ends it with 0', async () => {
      if (service.code === undefined) process.kill(service.main(), 'SIGTERM')
      if ((await service.ended) !== 0) throw new Error(service.output)
    })
  }
}

const portOf = (output) =>
  JSON.parse(output.split('\n').find((line) => line.includes('"listening"'))).port

/** Creates a root file system with this host's /usr, and with the built project where npm installs the package. */
function layOutRoot(root) {
  const folders = ['usr', 'proc', 'dev', 'tmp', 'root', 'home', 'run', 'var/lib', PLACE, PACKAGE]
  for (const one of [...folders, 'etc/systemd/system', join(MODULES, '.bin')])
    mkdirSync(join(root, one), { recursive: true })
  for (const one of ['bin', 'lib', 'lib64', 'sbin']) symlinkSync(`usr/${one}`, join(root, one))
  symlinkSync('../@latchkey/latchkey/dist/src/main.js', join(root, MODULES, '.bin/latchkey'))
  mkdirSync(localOf(root))
  const files = {
    passwd: 'root:x:0:0:root:/root:/bin/sh\n',
    group: 'root:x:0:\n',
    shadow: 'root:*:19000::::::\n',
    gshadow: 'root:*::\n',
    hosts: `127.0.0.1 localhost ${HOST}\n`,
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n',
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'etc', name), text)
}

/** Returns the folder that is mounted as /usr/local/bin in the root, because the root shares /usr with this host. */
const localOf = (root) => `${root}-local`

/** Mounts required by every command in the root. */
const basics = (root) => [
  `mount --bind ${root} ${root}`,
  `mount --bind /usr ${root}/usr`,
  `mount -o remount,bind,ro ${root}/usr`,
  `mount --bind ${localOf(root)} ${root}/usr/local/bin`,
  `mount --bind ${ROOT} ${root}/${PACKAGE}`,
  `mount -o remount,bind,ro ${root}/${PACKAGE}`,
  `mount -t tmpfs -o mode=755 tmpfs ${root}/run`,
  `mkdir -p ${root}/run/bin`,
  `touch ${root}/run/bin/node`,
  `mount --bind ${process.execPath} ${root}/run/bin/node`,
]

const PATH = 'PATH=/run/bin:/usr/local/bin:/usr/sbin:/usr/bin'

/** Returns the unshare arguments for running a command as root without the sandbox, as in an operator's shell. */
function inside(root, words) {
  const lines = [
    ...basics(root),
    `mount --rbind /dev ${root}/dev`,
    `mount --rbind /proc ${root}/proc`,
  ]
  const script = `set -e\n${lines.join('\n')}\nexec chroot ${root} env -i ${PATH} "$@"`
  return ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', ...words]
}

async function inRoot(root, words) {
  const { code, output, stdout } = await run('unshare', inside(root, words), { timeoutMs: 120_000 })
  if (code !== 0) throw new Error(`${words.join(' ')} ended with ${code}:\n${output}`)
  return stdout
}

/**
 * Runs a command from docs/install.md in the root.
 * @returns its output
 */
const typeInRoot = (root, command) => inRoot(root, ['sh', '-c', `cd /${PLACE} && ${command}`])

/** Creates a certificate issued by a private authority. */
async function putCertificate(root) {
  const { createAuthority, issueCertificate } = await built('certs/dev-pki.js')
  const authority = await createAuthority('unit CA')
  const issued = await issueCertificate(authority, {
    ...{ commonName: HOST, names: [HOST, 'localhost'], usage: 'server' },
  })
  const put = (name, text) => writeFileSync(join(root, PLACE, name), text, { mode: 0o600 })
  put('server.crt', issued.certificate)
  put('server.key', issued.privateKey)
  put('ca.crt', authority.certificatePem)
}

/** Starts the unit's command line in its sandbox. */
function startService(root, unit) {
  const [, command] = /^ExecStart=(.*)$/m.exec(unit)
  const ids = /^latchkey:x:(\d+):(\d+):/m.exec(readFileSync(join(root, 'etc/passwd'), 'utf8'))
  const [, uid, gid] = ids
  const lines = [
    ...basics(root),
    `mount -t tmpfs -o mode=755 tmpfs ${root}/dev`,
    ...DEVICES.flatMap((one) => [
      `touch ${root}/dev/${one}`,
      `mount --bind /dev/${one} ${root}/dev/${one}`,
    ]),
    `mount -t proc -o hidepid=2 proc ${root}/proc`,
    ...['home', 'root'].map((one) => `mount -t tmpfs -o mode=0,ro tmpfs ${root}/${one}`),
    `mount -t tmpfs -o mode=1777 tmpfs ${root}/tmp`,
    `mount --bind ${root}/var/lib/latchkey ${root}/var/lib/latchkey`,
    `mount -o remount,bind,ro ${root}/usr/local/bin`,
    `mount -o remount,bind,ro ${root}`,
    'ulimit -c 0',
    'umask 0077',
  ]
  const script = `set -e\n${lines.join('\n')}\nexec chroot ${root} "$@"`
  const words = [
    ...['env', '-i', PATH, 'STATE_DIRECTORY=/var/lib/latchkey', 'NODE_ENV=production', 'setpriv'],
    ...[`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs'],
    ...['--inh-caps=-all,+net_bind_service', '--ambient-caps=-all,+net_bind_service'],
    ...['--bounding-set=-all,+net_bind_service', ...command.split(' ')],
  ]
  const isolated = ['--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private']
  const child = spawn('unshare', [...isolated, 'sh', '-c', script, 'sh', ...words])
  const service = { output: '', code: undefined }
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text) => (service.output += text))
  service.ended = new Promise((resolve) => {
    child.once('close', (code) => resolve((service.code = code ?? 1)))
  })
  service.main = () => {
    const children = `/proc/${child.pid}/task/${child.pid}/children`
    return Number(readFileSync(children, 'utf8').trim().split(' ')[0])
  }
  return service
}

/** Inspects the running process from outside the sandbox, and tries forbidden writes inside it. */
async function checkSandbox(service) {
  const pid = service.main()
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]
  const found = [field('NoNewPrivs'), field('CapEff'), field('CapBnd'), field('Umask')]
  const expected = ['1', '0000000000000400', '0000000000000400', '0077']
  if (found.join() !== expected.join()) throw new Error(`${found} instead of ${expected}`)
  if (field('Uid').startsWith('0')) throw new Error('it runs as root')
  for (const path of [
    'etc/x',
    'usr/x',
    'usr/local/bin/x',
    'opt/latchkey/x',
    `${PACKAGE}/x`,
    'var/lib/x',
  ]) {
    const { code } = await run('nsenter', [
      '--target',
      String(pid),
      '--mount',
      '--root',
      'touch',
      `/${path}`,
    ])
    if (code === 0) throw new Error(`/${path} can be written`)
  }
  await must('nsenter', [
    '--target',
    String(pid),
    '--mount',
    '--root',
    'test',
    '-e',
    '/var/lib/latchkey/latchkey.db',
  ])
  if (existsSync(`/proc/${pid}/root/dev/sda`)) throw new Error('devices are visible')
}
