/** Creates real tokens in temporary folders: SoftHSM 2, NSS softokn, and p11-kit as a proxy and as a server. */
// SPDX-License-Identifier: Apache-2.0
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { eventually } from '../server.ts'
import { openModule } from './module-session.ts'
import type { ModuleAddress, NewTokenKey } from './module-steps.ts'

export interface TestToken extends ModuleAddress {
  readonly folder: string
  /** Label of the first token. */
  readonly label: string
  readonly pin: string
  readonly pinFile: string
}

/** The PIN is distinctive enough not to occur in a log by chance. */
const PIN = 'pin-of-test-tokens-2468'
const OFFICER_PIN = '87654321'

/** Finds a Debian package's shared library on any architecture. */
function library(...names: readonly string[]): string {
  const folders = ['/usr/lib/softhsm', ...readdirSync('/usr/lib').map((name) => `/usr/lib/${name}`)]
  const paths = folders.flatMap((folder) => names.map((name) => join(folder, name)))
  const found = paths.find((path) => existsSync(path))
  if (found === undefined) throw new Error(`not installed: ${names.join(', ')}`)
  return found
}

function tokenFolder(t: Test, kind: string) {
  const folder = mkdtempSync(join(tmpdir(), `latchkey-${kind}-`))
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const pinFile = join(folder, 'pin')
  writeFileSync(pinFile, `${PIN}\n`, { mode: 0o600 })
  return { folder, pin: PIN, pinFile }
}

/** Creates SoftHSM 2 tokens, one for each label, using SoftHSM's own tool. */
export async function createSoftHsm(
  t: Test,
  labels: readonly [string, ...string[]] = ['xks'],
): Promise<TestToken> {
  const place = tokenFolder(t, 'softhsm')
  const tokens = join(place.folder, 'tokens')
  const config = join(place.folder, 'softhsm2.conf')
  mkdirSync(tokens)
  const settings = [`directories.tokendir = ${tokens}`, 'objectstore.backend = file']
  writeFileSync(config, `${[...settings, 'log.level = ERROR'].join('\n')}\n`)
  const environment = { SOFTHSM2_CONF: config }
  for (const label of labels) {
    const operands = ['--init-token', '--free', '--label', label, '--pin', PIN]
    await promisify(execFile)('softhsm2-util', [...operands, '--so-pin', OFFICER_PIN], {
      env: { ...process.env, ...environment },
    })
  }
  return { ...place, module: library('libsofthsm2.so'), environment, label: labels[0] }
}

/** Creates an NSS database and sets its PIN over PKCS#11, as `certutil -N` would. */
export async function createNss(t: Test): Promise<TestToken> {
  const place = tokenFolder(t, 'nss')
  const database = join(place.folder, 'db')
  mkdirSync(database)
  const token: TestToken = {
    ...place,
    module: library('libsoftokn3.so', 'nss/libsoftokn3.so'),
    environment: {},
    parameters: `configdir='sql:${database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=`,
    label: 'NSS Certificate DB',
  }
  const module = openModule(t, token)
  await module.step({ step: 'initialize' })
  await module.step({ step: 'firstPin', slot: await findSlot(module, token.label), pin: PIN })
  await module.close()
  return token
}

/** Puts p11-kit-proxy in front of `token`, configured to load only the token's module. */
export function throughProxy(token: TestToken): TestToken {
  const home = join(token.folder, 'xdg')
  mkdirSync(join(home, 'pkcs11/modules'), { recursive: true })
  writeFileSync(join(home, 'pkcs11/modules/token.module'), `module: ${token.module}\n`)
  writeFileSync(join(home, 'pkcs11/pkcs11.conf'), 'user-config: only\n')
  const environment = { ...token.environment, XDG_CONFIG_HOME: home }
  return { ...token, module: library('p11-kit-proxy.so'), environment }
}

/** Puts `p11-kit server` in front of `token`. The server hides AES-GCM and some other mechanisms. */
export async function throughServer(t: Test, token: TestToken): Promise<TestToken> {
  const socket = join(token.folder, 'p11-kit.sock')
  const operands = ['server', '--foreground', '--provider', token.module, '--name', socket]
  const server = spawn('p11-kit', [...operands, 'pkcs11:'], {
    env: { PATH: process.env['PATH'] ?? '', ...token.environment },
    stdio: 'ignore',
  })
  const gone = once(server, 'exit')
  t.teardown(async () => {
    server.kill('SIGKILL')
    await gone
  })
  await eventually(() => existsSync(socket))
  const environment = { P11_KIT_SERVER_ADDRESS: `unix:path=${socket}` }
  return { ...token, module: library('pkcs11/p11-kit-client.so'), environment }
}

async function findSlot(module: ReturnType<typeof openModule>, label: string): Promise<number> {
  const tokens = await module.step({ step: 'tokens' })
  const found = tokens.find((token) => token.label === label)
  if (found === undefined) throw new Error(`no token has the label ${label}`)
  return found.slot
}

/** Opens a logged-in session on the token `label`, in a process that exits with the test. */
export async function openToken(t: Test, token: TestToken, label = token.label) {
  const module = openModule(t, token)
  await module.step({ step: 'initialize' })
  const slot = await findSlot(module, label)
  const session = await module.step({ step: 'open', slot })
  await module.step({ step: 'login', session, pin: token.pin })
  return { module, slot, session }
}

/** Creates keys as another program that uses the same token would. */
export async function createTokenKeys(
  t: Test,
  token: TestToken,
  keys: readonly NewTokenKey[],
  label = token.label,
): Promise<void> {
  const { module, session } = await openToken(t, token, label)
  for (const key of keys) await module.step({ step: 'createKey', session, key })
  await module.close()
}
