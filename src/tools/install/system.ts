/**
 * Sets up a host: creates a user, folders according to the Filesystem Hierarchy Standard, and the
 * systemd unit.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, chown, constants, mkdir, open, readdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { SYSTEM_CONFIG, UsageError } from '../../terminal/command.ts'
import { writeNewFile } from '../../terminal/files.ts'
import { renderFirstConfig } from '../demo/config-template.ts'

const ETC = '/etc/latchkey'
const STATE = '/var/lib/latchkey'
const UNIT = '/etc/systemd/system/latchkey.service'
/** Unit file that the .deb and .rpm packages install. If it exists, no copy in /etc is needed. */
const PACKAGED_UNIT = '/usr/lib/systemd/system/latchkey.service'
const USER = 'latchkey'
const COMMAND_TIMEOUT_MS = 30_000
/** Relative to the project root, so it resolves from dist/ and from .test-build/. */
const PROJECT = new URL('../../../../', import.meta.url)
const TEMPLATE = new URL('docker/systemd/latchkey.service', PROJECT)
/** Folders that the unit's ProtectHome hides from the service. */
const HIDDEN = ['/home/', '/root/', '/run/user/']

const run = promisify(execFile)

/**
 * Creates the user, folders and unit that are missing, and leaves existing ones unchanged.
 * Afterwards, create the store and then call `giveState`.
 * @throws UsageError if not run as root, or if the service could not read the program
 */
export async function prepareSystem(): Promise<void> {
  const uid = process.getuid?.()
  if (uid !== 0) {
    throw new UsageError('USAGE', `--system: expected root, found uid ${String(uid)}`, {
      hint: 'sudo latchkey init --system',
    })
  }
  const program = fileURLToPath(new URL('../../main.js', import.meta.url))
  const hidden = [process.execPath, program].find((path) =>
    HIDDEN.some((folder) => path.startsWith(folder)),
  )
  if (hidden !== undefined) {
    throw new UsageError('USAGE', `--system: the service cannot access ${hidden}`, {
      hint: 'install Node.js and Latchkey outside home folders, for example in /opt/latchkey',
    })
  }
  const { gid } = await ensureUser()
  await ensureFolder(ETC, 0o755, { uid: 0, gid: 0 })
  await ensureFolder(join(ETC, 'tls'), 0o750, { uid: 0, gid })
  await ensureFolder(STATE, 0o700, { uid: 0, gid: 0 })
  await writeNew(
    SYSTEM_CONFIG,
    renderFirstConfig({ store: join(STATE, 'latchkey.db'), masterKey: join(STATE, 'master.key') }),
  )
  if (existsSync(PACKAGED_UNIT)) return
  const template = await readFile(TEMPLATE, 'utf8')
  await writeNew(
    UNIT,
    template
      .replace('/usr/bin/node', process.execPath)
      .replace('/opt/latchkey/dist/src/main.js', program)
      .replace('/opt/latchkey/README.md', fileURLToPath(new URL('README.md', PROJECT))),
  )
}

/**
 * Refuses to create the service's files as root on a host where the service runs as its own user,
 * because the service could not open them.
 * @param file path of the configuration
 * @throws UsageError
 */
export function checkServiceUser(
  file: string,
  { uid, hasUnit }: { readonly uid: number | undefined; readonly hasUnit: boolean },
): void {
  if (uid !== 0 || !hasUnit || resolve(file) !== SYSTEM_CONFIG) return
  throw new UsageError(
    'USAGE',
    `${SYSTEM_CONFIG}: expected --system, because this host's service runs as the user ${USER}`,
    { hint: 'sudo latchkey init --system' },
  )
}

/** Reports whether this host has the systemd unit. */
export function hasUnit(): boolean {
  return existsSync(PACKAGED_UNIT) || existsSync(UNIT)
}

/** Gives the state folder, and everything that root created in it, to the service's user. */
export async function giveState(): Promise<void> {
  const { uid, gid } = await ensureUser()
  for (const name of await readdir(STATE)) await giveFile(join(STATE, name), uid, gid)
  await chown(STATE, uid, gid)
}

/**
 * Changes the owner through a file descriptor, and only for a regular file that root owns.
 * Otherwise, the service's user could place a link in its folder to take over another file.
 */
export async function giveFile(path: string, uid: number, gid: number): Promise<void> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ELOOP') return undefined
    throw error
  })
  if (file === undefined) return
  try {
    const found = await file.stat()
    if (found.isFile() && found.nlink === 1 && found.uid === 0) await file.chown(uid, gid)
  } finally {
    await file.close()
  }
}

async function ensureUser(): Promise<{ readonly uid: number; readonly gid: number }> {
  const id = async (flag: string) => {
    const { stdout } = await run('id', [flag, USER], { timeout: COMMAND_TIMEOUT_MS })
    return Number(stdout)
  }
  try {
    return { uid: await id('-u'), gid: await id('-g') }
  } catch {
    const flags = ['--system', '--user-group', '--no-create-home', '--home-dir', STATE]
    await run('useradd', [...flags, '--shell', '/usr/sbin/nologin', USER], {
      timeout: COMMAND_TIMEOUT_MS,
    })
    return { uid: await id('-u'), gid: await id('-g') }
  }
}

async function ensureFolder(
  path: string,
  mode: number,
  owner: { readonly uid: number; readonly gid: number },
): Promise<void> {
  const made = await mkdir(path, { recursive: true, mode })
  if (made === undefined) return
  await chmod(path, mode)
  await chown(path, owner.uid, owner.gid)
}

async function writeNew(path: string, text: string): Promise<void> {
  try {
    await writeNewFile(path, text, 0o644)
  } catch (error) {
    // A UsageError means that the file already exists; keep it.
    if (!(error instanceof UsageError)) throw error
  }
}
