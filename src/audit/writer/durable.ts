/** Writes small files durably and atomically. */
// SPDX-License-Identifier: Apache-2.0
import { closeSync, fsyncSync, openSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Syncs a folder, so that the names in it are durable. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Creates a file. The caller syncs its folder.
 * @throws a system error, also if the file exists
 */
export async function writeSynced(path: string, text: string, mode = 0o640): Promise<void> {
  const handle = await open(path, 'wx', mode)
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Creates or replaces a file: a reader sees either the old file or the new one, never a part. The
 * caller syncs the file and its folder.
 * @throws a system error
 */
export async function replaceFile(path: string, bytes: Buffer, mode: number): Promise<void> {
  const temporary = await removeTemporary(path)
  const handle = await open(temporary, 'wx', mode)
  try {
    await handle.writeFile(bytes)
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
}

/**
 * Creates or replaces a file atomically: a reader sees the old text or the new one, even after a
 * crash.
 */
export async function replaceSynced(path: string, text: string, mode = 0o640): Promise<void> {
  const temporary = await removeTemporary(path)
  await writeSynced(temporary, text, mode)
  await rename(temporary, path)
  syncFolder(dirname(path))
}

/**
 * Returns the path of the temporary file. One that a crash left is removed, so that nothing is
 * written through a link.
 */
async function removeTemporary(path: string): Promise<string> {
  const temporary = `${path}.new`
  await rm(temporary, { force: true })
  return temporary
}
