// Runs a built image with `buildah run`, as the image's own user and on a read-only root file system.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildah, buildahArguments } from './buildah.mjs'
import { must, run } from './process.mjs'

const USER = 1000
const REGION = 'eu-west-1'
const KMS_NAME = `cks.kms.${REGION}.amazonaws.com`
const KEY_ID = 'container-key'
const DRAIN_MS = 10_000
/** Exit code of a command that could not write because the file system is read-only. */
const READ_ONLY = 30
const LAZY = [
  ...['@opentelemetry/api', '@opentelemetry/sdk-trace', '@opentelemetry/exporter-trace-otlp-http'],
  ...['@aws-sdk/client-kms', 'pg', 'uplot'],
]
const built = (path) => import(new URL(`../dist/${path}`, import.meta.url))

/** @param {{ target: string, image: object, container: string, folder: string, check: Function }} options */
export async function useImage({ target, image, container, folder, check }) {
  const home = mkdtempSync(join(tmpdir(), 'latchkey-container-'))
  const site = await prepareSite(home)
  const inside = (...command) => runInside(container, site, command)
  await check(`${target}: runs as a user that is not root`, async () => {
    const { output } = await mustEnd(inside('/usr/local/bin/node', '-p', 'process.getuid()'))
    if (output.trim() !== String(USER)) throw new Error(`it runs as ${output}`)
  })
  await check(`${target}: what is loaded only when it is needed is there`, () => {
    const from = "createRequire('/opt/latchkey/package.json')"
    const load = `for (const name of ${JSON.stringify(LAZY)}) await import('file://' + ${from}.resolve(name))`
    const script = `import { createRequire } from 'node:module'; ${load}`
    return mustEnd(inside('/usr/local/bin/node', '--input-type=module', '-e', script))
  })
  const load = (file, use) =>
    mustEnd(inside('/usr/local/bin/node', '-e', `require('/opt/latchkey/${file}').${use}`))
  await check(`${target}: the lease guard loads`, () =>
    load('src/killswitch/gate/guard/build/Release/lease_guard.node', 'open()'),
  )
  await check(`${target}: the add-on for sealed rows loads`, () =>
    load('src/store/row-codes/build/Release/row_codes.node', 'createKey(Buffer.alloc(32))'),
  )
  if (target === 'latchkey') {
    await check(`${target}: there is no shell in it`, async () => {
      const found = ['bin/sh', 'usr/bin/sh', 'bin/bash', 'usr/bin/env'].filter((name) =>
        existsSync(join(folder, name)),
      )
      if (found.length > 0) throw new Error(`found ${found.join(', ')}`)
    })
  } else {
    await check(`${target}: the add-on for tokens loads`, () =>
      load('src/keys/pkcs11/worker/gcm/build/Release/token_gcm.node', 'run.length'),
    )
    await check(`${target}: the HSM add-on loads`, () =>
      load('node_modules/pkcs11js', 'PKCS11.length'),
    )
  }
  // Remove the image's own volume. Otherwise, buildah would mount either that volume or the check's, depending on an
  // unstable sort.
  await buildah('config', '--volume', '/var/lib/latchkey-', container)
  // Create buildah's mount points now, because the root file system is read-only later.
  for (const name of ['run', 'dev', 'proc', 'sys'])
    mkdirSync(join(folder, name), { recursive: true })
  for (const name of ['run/.containerenv', 'etc/hosts', 'etc/resolv.conf', 'etc/hostname']) {
    writeFileSync(join(folder, name), '', { flag: 'a' })
  }
  await must('mount', ['--bind', folder, folder])
  await must('mount', ['-o', 'remount,bind,ro', folder])
  // /run must be writable, because buildah removes its own file there when it exits, and crashes if it cannot.
  await must('mount', ['-t', 'tmpfs', '-o', 'mode=0755,size=1m', 'tmpfs', join(folder, 'run')])
  try {
    await check(`${target}: the root file system is read-only, for root too`, async () => {
      // Buildah sometimes loses the last output of a command that fails, but not its exit code.
      const write = `process.exitCode = 1; try { require('fs').writeFileSync('/opt/latchkey/x', '') }
        catch ({ code }) { if (code === 'EROFS') process.exitCode = ${READ_ONLY} }`
      const command = ['/usr/local/bin/node', '-e', write]
      const { code, output } = await runInside(container, site, command, 0)
      if (code !== READ_ONLY) throw new Error(`ended with ${code}: ${output}`)
    })
    await check(`${target}: init, a key and a credential`, () => initialise(inside))
    await serveAndCall({ target, image, container, site, inside, check })
  } finally {
    await must('umount', [join(folder, 'run')])
    await must('umount', [folder])
    rmSync(home, { recursive: true, force: true })
  }
}

const latchkey = (...words) => ['/usr/local/bin/latchkey', ...words]

async function mustEnd(running) {
  const result = await running
  if (result.code !== 0) throw new Error(`ended with ${result.code}: ${result.output}`)
  return result
}

async function initialise(inside) {
  await mustEnd(inside(...latchkey('init', '--dir', '/etc/latchkey')))
  await mustEnd(inside(...latchkey('keys', 'create', KEY_ID)))
  await mustEnd(
    inside(...latchkey('credentials', 'create', '--output', '/var/lib/latchkey/console.json')),
  )
}

async function freePort() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Creates the certificates and the configuration to mount, and an empty volume for the store. */
async function prepareSite(home) {
  const { createAuthority, issueCertificate } = await built('certs/dev-pki.js')
  const etc = join(home, 'etc')
  const data = join(home, 'data')
  for (const name of [etc, data]) mkdirSync(name, { mode: 0o700 })
  const server = await createAuthority('Container check server CA')
  const kms = await createAuthority('Container check KMS CA')
  const put = (name, text) => writeFileSync(join(etc, name), text, { mode: 0o600 })
  const issued = await issueCertificate(server, {
    commonName: 'localhost',
    names: ['localhost', '127.0.0.1'],
    usage: 'server',
  })
  put('server.crt', issued.certificate)
  put('server.key', issued.privateKey)
  put('server-ca.crt', server.certificatePem)
  put('kms-ca.crt', kms.certificatePem)
  for (const [name, commonName] of [
    ['kms', KMS_NAME],
    ['other', 'cks.kms.us-east-1.amazonaws.com'],
  ]) {
    const client = await issueCertificate(kms, { commonName, usage: 'client' })
    put(`${name}.crt`, client.certificate)
    put(`${name}.key`, client.privateKey)
  }
  const ports = { xks: await freePort(), ping: await freePort() }
  put('latchkey.yaml', configuration(ports))
  for (const name of [etc, data, ...readdirSync(etc).map((name) => join(etc, name))]) {
    chownSync(name, USER, USER)
  }
  return { etc, data, ports }
}

const configuration = ({ xks, ping }) => `
listener:
  host: 127.0.0.1
  port: ${xks}
  tls: { certificate: server.crt, privateKey: server.key }
  clientCertificate: { ca: kms-ca.crt, regions: [${REGION}] }
  ping: { host: 127.0.0.1, port: ${ping} }
  drain: { delay: 0s, timeout: 5s }
keyStores:
  - { name: main, prefix: /main, regions: [${REGION}] }
store:
  path: /var/lib/latchkey/latchkey.db
  masterKey: { file: /var/lib/latchkey/master.key }
`

function runArguments(container, { etc, data, ports }, command, user = USER) {
  return buildahArguments(
    ...['run', '--isolation', 'chroot', '--user', `${user}:${user}`],
    ...['--env', `LATCHKEY_PING_PORT=${ports.ping}`],
    ...['--volume', `${etc}:/etc/latchkey:ro`, '--volume', `${data}:/var/lib/latchkey:rw`],
    ...[container, '--', ...command],
  )
}

function runInside(container, site, command, user) {
  return run('buildah', runArguments(container, site, command, user), { timeoutMs: 60_000 })
}

async function serveAndCall({ target, image, container, site, inside, check }) {
  const command = [...image.entrypoint, ...image.command]
  const child = spawn('buildah', runArguments(container, site, command), {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const ended = new Promise((resolve) => child.once('close', (code) => resolve(code)))
  const healthcheck = () => inside(...image.healthcheck)
  const isUp = await check(`${target}: starts, and its HEALTHCHECK says so`, async () => {
    for (let tries = 0; (await healthcheck()).code !== 0; tries++) {
      if (tries > 20) throw new Error(`it does not come up:\n${output}`)
    }
  })
  try {
    if (isUp) await call({ target, site, inside, check })
  } finally {
    await check(`${target}: SIGTERM ends it with 0 within its drain time`, async () => {
      process.kill(findProcess('tini', child.pid), 'SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), DRAIN_MS)
      const code = await ended
      clearTimeout(timer)
      if (code !== 0) throw new Error(`it ended with ${code}:\n${output}`)
    })
  }
}

/**
 * Returns the host's process id of a process in a container.
 * @param {number} ancestor the buildah process that runs the container
 */
export function findProcess(name, ancestor) {
  for (const pid of descendantsOf(ancestor)) {
    if (readFileSync(`/proc/${pid}/comm`, 'utf8').trim() === name) return pid
  }
  throw new Error(`no process ${name}`)
}

/** Returns the ids of a process's children, their children, and so on. */
function descendantsOf(pid) {
  const children = readdirSync(`/proc/${pid}/task`)
    .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8'))
    .flatMap((text) => text.trim().split(' '))
    .filter((child) => child !== '')
    .map(Number)
  return [...children, ...children.flatMap(descendantsOf)]
}

async function call({ target, site, inside, check }) {
  const client = await connect(site, 'kms')
  let sealed
  await check(`${target}: a signed round trip over mTLS`, async () => {
    const plaintext = Buffer.alloc(32, 7)
    sealed = expectStatus(await client.encrypt(KEY_ID, { plaintext, cdiv: true }), 200)
    const opened = expectStatus(await decrypt(client, sealed), 200)
    if (opened.plaintext !== plaintext.toString('base64')) throw new Error('another plaintext')
  })
  await check(`${target}: a certificate for another region never reaches HTTP`, async () => {
    const other = await connect(site, 'other')
    const outcome = await other.getHealthStatus().then(
      (answer) => `HTTP ${answer.status}`,
      () => 'refused',
    )
    await other.close()
    if (outcome !== 'refused') throw new Error(outcome)
  })
  await check(`${target}: kill stops access, and restore gives it back`, async () => {
    await mustEnd(inside(...latchkey('kill', '--all', '--reason', 'container check')))
    const killed = expectStatus(await decrypt(client, sealed), 400)
    if (killed.errorName !== 'InvalidStateException') throw new Error(JSON.stringify(killed))
    await mustEnd(inside(...latchkey('restore', '--all', '--reason', 'container check', '--yes')))
    const until = Date.now() + 10_000
    while ((await decrypt(client, sealed)).status !== 200) {
      if (Date.now() > until) throw new Error('it stays refused')
    }
  })
  await client.close()
}

async function connect({ etc, data, ports }, name) {
  const { createKmsSideClient } = await built('src/kms/client/client.js')
  const { Secret } = await built('src/core/secret.js')
  const file = JSON.parse(readFileSync(join(data, 'console.json'), 'utf8'))
  const credential = file.XksProxyAuthenticationCredential
  return createKmsSideClient({
    endpoint: `https://localhost:${ports.xks}`,
    uriPath: file.XksProxyUriPath,
    accessKeyId: credential.AccessKeyId,
    secretAccessKey: new Secret(credential.RawSecretAccessKey),
    region: REGION,
    caFile: join(etc, 'server-ca.crt'),
    clientCertificate: {
      certificateFile: join(etc, `${name}.crt`),
      privateKeyFile: join(etc, `${name}.key`),
    },
  })
}

function decrypt(client, sealed) {
  const bytes = (name) => Buffer.from(sealed[name], 'base64')
  return client.decrypt(KEY_ID, {
    ciphertext: bytes('ciphertext'),
    ciphertextMetadata: bytes('ciphertextMetadata'),
    initializationVector: bytes('initializationVector'),
    authenticationTag: bytes('authenticationTag'),
  })
}

function expectStatus({ status, body }, expected) {
  if (status !== expected) throw new Error(`status ${status}: ${JSON.stringify(body)}`)
  return body
}
