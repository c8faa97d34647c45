/**
 * Provides a real file system whose device fails on request. Its device is a file in another file system, which is shut
 * down: from then on, the kernel accepts writes to files, and syncs fail with EIO, as with a broken disk.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { temporaryFolder } from './cli.ts'
import { eventually } from './server.ts'

const run = promisify(execFile)

/** Shuts down the ext4 file system that contains a directory, without writing anything. */
const SHUT_DOWN = `
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, NO_FLUSH = 0x8004587D, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), EXT4_IOC_SHUTDOWN, struct.pack('I', NO_FLUSH))
`

export interface FailingDevice {
  /** Mount point. */
  readonly folder: string
  /** Lets every later sync fail with EIO, and discards what it was to write. What was written before is kept. */
  fail(): Promise<void>
  /** Makes the device work again, with what was synced. No file on it may be open. */
  repair(): Promise<void>
}

/** Reason to skip tests that mount devices; false if they can run. In CI, such tests fail rather than be skipped. */
export const cannotMountDevices: string | false =
  process.env['CI'] === undefined && !(await canMountDevices())
    ? 'needs permission to mount loop devices, python3, mkfs.ext4 and e2fsck'
    : false

async function canMountDevices(): Promise<boolean> {
  if (process.getuid?.() !== 0 || !existsSync('/dev/loop-control')) return false
  try {
    await run('python3', ['-c', 'import fcntl'])
    await run('mkfs.ext4', ['-V'])
    await run('e2fsck', ['-V'])
    await tryMount()
    return true
  } catch {
    return false
  }
}

/** Root in a container often may not mount. */
async function tryMount(): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), 'latchkey-mount-'))
  const [image, folder] = [join(place, 'image'), join(place, 'disk')]
  try {
    await mkdir(folder)
    await makeFileSystem(image, 1)
    await run('mount', ['-o', 'loop', image, folder])
    await unmount(folder)
  } finally {
    await rm(place, { recursive: true })
  }
}

/** @param mebibytes size of the file system */
export async function createFailingDevice(t: Test, mebibytes = 64): Promise<FailingDevice> {
  const place = await temporaryFolder(t)
  const [outer, folder] = [join(place, 'outer'), join(place, 'disk')]
  const [outerImage, image] = [join(place, 'image'), join(outer, 'image')]
  const mount = async (from: string, to: string) => {
    await run('mount', ['-o', 'loop', from, to])
  }
  await mkdir(outer)
  await mkdir(folder)
  t.teardown(() => run('umount', ['--lazy', outer]).catch(() => undefined))
  t.teardown(() => run('umount', ['--lazy', folder]).catch(() => undefined))
  await makeFileSystem(outerImage, 2 * mebibytes)
  await mount(outerImage, outer)
  await makeFileSystem(image, mebibytes)
  await mount(image, folder)
  return {
    folder,
    async fail() {
      await run('sync', ['--file-system', folder])
      await run('python3', ['-c', SHUT_DOWN, outer])
    },
    async repair() {
      await unmount(folder)
      await unmount(outer)
      await mount(outerImage, outer)
      // The exit code is 1 if it repaired something.
      await run('e2fsck', ['-fy', image]).catch(() => undefined)
      await mount(image, folder)
    },
  }
}

/** The kernel releases files and loop devices in the background, so a file system can be busy for a while. */
function unmount(folder: string): Promise<void> {
  return eventually(() =>
    run('umount', [folder]).then(
      () => true,
      () => false,
    ),
  )
}

/** Without a journal, a failed write does not make the file system read-only. */
async function makeFileSystem(image: string, mebibytes: number): Promise<void> {
  await run('truncate', ['-s', `${String(mebibytes)}M`, image])
  await run('mkfs.ext4', ['-q', '-O', '^has_journal', image])
}
