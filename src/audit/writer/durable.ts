/** Writes small files durably and atomically. */
// SPDX-License-Identifier: Apache-2.0
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Syncs a directory, which makes the names in it durable. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Creates a file and syncs it. The caller must sync the directory.
 * @throws a system error, including when the file exists
 */
export async function writeSynced(
  path: string,
  content: string | Buffer,
  mode = 0o640,
): Promise<void> {
  const handle = await open(path, 'wx', mode)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Creates or replaces a file. Readers see either the old file or the new one, never part of one.
 * The caller must sync the file and its directory.
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

/** Mode of the files that blocking functions create: anyone may read a log's tiles. */
const PUBLIC = 0o644

/**
 * Works like `replaceFile`, but blocks the calling thread, so it must never run on the event loop.
 * @param sync called with the new file before it replaces the old one
 */
export function replaceFileNow(path: string, bytes: Buffer, sync?: (fd: number) => void): void {
  const temporary = temporaryOf(path)
  const fd = createNow(temporary)
  try {
    writeAllNow(fd, bytes)
    sync?.(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(temporary, path)
}

/**
 * Creates a file. Blocks the calling thread. The caller syncs the file and its directory.
 * @throws a system error, including when the file exists
 */
export function createFileNow(path: string, bytes: Buffer): void {
  const fd = openSync(path, 'wx', PUBLIC)
  try {
    writeAllNow(fd, bytes)
  } catch (error) {
    rmSync(path)
    throw error
  } finally {
    closeSync(fd)
  }
}

function writeAllNow(fd: number, bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(fd, bytes, done)
}

function createNow(path: string): number {
  const create = () => openSync(path, 'wx', PUBLIC)
  try {
    return create()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    // An earlier write that failed may have left the file behind.
    rmSync(path)
    return create()
  }
}

/**
 * Creates or replaces a file atomically: readers see the old content or the new content, even
 * after a crash.
 */
export async function replaceSynced(
  path: string,
  content: string | Buffer,
  mode = 0o640,
): Promise<void> {
  const temporary = await removeTemporary(path)
  await writeSynced(temporary, content, mode)
  await rename(temporary, path)
  // Unlike syncFolder, this function must not block the event loop, because a server also calls it.
  const handle = await open(dirname(path), 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Returns the temporary file's path. A file left by a crash is removed first, so that nothing is
 * written through a link.
 */
async function removeTemporary(path: string): Promise<string> {
  const temporary = temporaryOf(path)
  await rm(temporary, { force: true })
  return temporary
}

function temporaryOf(path: string): string {
  return `${path}.new`
}
