// Tests the systemd unit without systemd. `latchkey init --system` installs into a separate root, and a mount
// namespace reproduces the unit's sandbox: the user, a read-only file system except for the state folder, no home
// folders, private /tmp and /dev, other users' processes hidden, only the capability to bind low ports, its limits
// and its umask. System-call and address-family filters are not applied.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { built } from './chart-site.mjs'
import { must, ROOT, run } from './process.mjs'
import { checkServing, until } from './serve-check.mjs'

/** Settings of the unit that the namespace below implements. A change of the unit needs the same change there. */
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

/** @param {{ folder: string, check: Function }} options */
export async function serveUnit({ folder, check }) {
  const root = join(folder, 'unit-root')
  layOutRoot(root)
  let credential
  let caFile
  await check('unit: init --system, a certificate, a key, a credential', async () => {
    await inRoot(root, ['latchkey', 'init', '--system'])
    caFile = await putCertificate(root)
    await inRoot(root, ['latchkey', 'keys', 'create', 'my-key'])
    credential = JSON.parse(await inRoot(root, ['latchkey', 'credentials', 'create']))
  })
  const unit = readFileSync(join(root, UNIT), 'utf8')
  await check('unit: it has the sandbox that is tried here', async () => {
    for (const [name, value] of Object.entries(SANDBOX)) {
      const [, found] = new RegExp(`^${name}=(.*)$`, 'm').exec(unit) ?? []
      if (found !== value) throw new Error(`${name}=${found} instead of ${value}`)
    }
  })
  const service = start(root, unit)
  try {
    await check('unit: it serves in the sandbox; a signed Encrypt, a kill, a restore', async () => {
      const listens = () => service.output.includes('"listening"') || service.code !== undefined
      await until(listens, 'it listens', () => service.output)
      if (service.code !== undefined) throw new Error(service.output)
      await checkServing({
        ...{ credential, keyId: 'my-key', caFile },
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

/** Creates a root file system with this host's /usr, and the built project at /opt/latchkey. */
function layOutRoot(root) {
  const folders = ['usr', 'proc', 'dev', 'tmp', 'root', 'home', 'run', 'var/lib', 'opt/latchkey']
  for (const one of [...folders, 'etc/systemd/system'])
    mkdirSync(join(root, one), { recursive: true })
  for (const one of ['bin', 'lib', 'lib64', 'sbin']) symlinkSync(`usr/${one}`, join(root, one))
  const files = {
    passwd: 'root:x:0:0:root:/root:/bin/sh\n',
    group: 'root:x:0:\n',
    shadow: 'root:*:19000::::::\n',
    gshadow: 'root:*::\n',
    hosts: '127.0.0.1 localhost\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files\n',
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'etc', name), text)
}

/** Mounts that every command in the root needs. */
const basics = (root) => [
  `mount --bind ${root} ${root}`,
  `mount --bind /usr ${root}/usr`,
  `mount -o remount,bind,ro ${root}/usr`,
  `mount --bind ${ROOT} ${root}/opt/latchkey`,
  `mount -o remount,bind,ro ${root}/opt/latchkey`,
  `mount -t tmpfs -o mode=755 tmpfs ${root}/run`,
  `mkdir -p ${root}/run/bin`,
  `ln -sf ${process.execPath} ${root}/run/bin/node`,
  `printf '#!/bin/sh\\nexec ${process.execPath} /opt/latchkey/dist/src/main.js "$@"\\n' > ${root}/run/bin/latchkey`,
  `chmod 755 ${root}/run/bin/latchkey`,
]

const PATH = 'PATH=/run/bin:/usr/sbin:/usr/bin'

/** Returns the arguments of unshare for a command as root without the sandbox, like one in an operator's shell. */
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

/** Installs a certificate with the command of docs/install.md. */
async function putCertificate(root) {
  const { createAuthority, issueCertificate } = await built('certs/dev-pki.js')
  const authority = await createAuthority('unit CA')
  const issued = await issueCertificate(authority, {
    ...{ commonName: 'localhost', names: ['localhost'], usage: 'server' },
  })
  writeFileSync(join(root, 'tmp/server.crt'), issued.certificate)
  writeFileSync(join(root, 'tmp/server.key'), issued.privateKey, { mode: 0o600 })
  writeFileSync(join(root, 'tmp/ca.crt'), authority.certificatePem)
  const page = readFileSync(join(ROOT, 'docs/install.md'), 'utf8')
  const [command] = /^install -o root -g latchkey .*$/m.exec(page) ?? []
  await inRoot(root, ['sh', '-c', `cd /tmp && ${command}`])
  return join(root, 'tmp/ca.crt')
}

/** Starts the unit's command line in its sandbox. */
function start(root, unit) {
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

/** Inspects the running process from outside, and tries to write where it must not. */
async function checkSandbox(service) {
  const pid = service.main()
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1]
  const found = [field('NoNewPrivs'), field('CapEff'), field('CapBnd'), field('Umask')]
  const expected = ['1', '0000000000000400', '0000000000000400', '0077']
  if (found.join() !== expected.join()) throw new Error(`${found} instead of ${expected}`)
  if (field('Uid').startsWith('0')) throw new Error('it runs as root')
  for (const path of ['etc/x', 'usr/x', 'opt/latchkey/x', 'var/lib/x']) {
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
