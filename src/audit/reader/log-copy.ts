/** Serves the files of audit logs to remote readers, and copies remote logs. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Checkpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts'
import { parseNote } from '../../core/tlog/note.ts'
import { AuditError } from '../errors.ts'
import { fullTiles, levelsOf, partialWidth, TILE_WIDTH, tilePath } from '../log/tiles.ts'
import { CHECKPOINT } from '../writer/log-files.ts'
import { CERTIFICATE, listLogs, VERIFIER_KEY } from '../writer/log-folder.ts'
import { PRUNED } from '../writer/pruning.ts'

const FIXED: ReadonlySet<string> = new Set([CHECKPOINT, CERTIFICATE, VERIFIER_KEY, PRUNED])
/**
 * Path of a tile (c2sp.org/tlog-tiles): levels up to 63, groups of three digits, and the width of a
 * partial tile.
 */
const TILE = /^tile\/(?:entries|[0-5]?\d|6[0-3])\/(?:x\d{3}\/){0,5}\d{3}(?:\.p\/[1-9]\d{0,2})?$/

/**
 * Returns a file of a log, or undefined if there is none that remote readers may have. Neither the
 * write-ahead log nor a file outside the folder can be named.
 */
export async function readLogFile(
  root: string,
  log: string,
  path: string,
): Promise<Buffer | undefined> {
  if (!FIXED.has(path) && !TILE.test(path)) return undefined
  if (!(await listLogs(root)).includes(log)) return undefined
  return readFile(join(root, log, path)).catch((error: unknown) => {
    const { code = '' } = error as NodeJS.ErrnoException
    if (!['ENOENT', 'ENOTDIR', 'EISDIR'].includes(code)) throw error
    return undefined
  })
}

/** Reads a file of a remote log; undefined if there is none. */
export type ReadRemote = (path: string) => Promise<Buffer | undefined>

/**
 * Copies a remote log into a folder, skipping files that are already there. Nothing is verified.
 * @returns the checkpoint that the folder had before; undefined if it had none
 * @throws AuditError AUDIT_INVALID if a file is missing there
 */
export async function copyLog(folder: string, read: ReadRemote): Promise<Checkpoint | undefined> {
  const before = toCheckpoint(await readFile(join(folder, CHECKPOINT)).catch(() => undefined))
  const signed = await read(CHECKPOINT)
  const head = toCheckpoint(signed)
  if (signed === undefined || head === undefined) {
    throw new AuditError('AUDIT_INVALID', `${folder}: there is no checkpoint of this log`)
  }
  let pruned = 0
  for (const name of [CERTIFICATE, VERIFIER_KEY, PRUNED]) {
    const bytes = await read(name)
    if (bytes !== undefined) await put(join(folder, name), bytes)
    if (name === PRUNED && bytes !== undefined) pruned = countPruned(bytes)
  }
  const { size } = head
  const copyOne = async (level: number | 'entries', index: number, width: number) => {
    const full = tilePath(level, index)
    const path = tilePath(level, index, width)
    if (existsSync(join(folder, full)) || existsSync(join(folder, path))) return
    for (const one of new Set([path, full])) {
      // Once a tile is full, its log may remove the partial one.
      const bytes = await read(one)
      if (bytes === undefined) continue
      await put(join(folder, one), bytes)
      return
    }
    throw new AuditError('AUDIT_INVALID', `${folder}: ${path} is missing`)
  }
  for (let level = 0; level < levelsOf(size); level++) {
    const full = fullTiles(level, size)
    for (let index = 0; index < full; index++) await copyOne(level, index, TILE_WIDTH)
    const width = partialWidth(level, size)
    if (width > 0) await copyOne(level, full, width)
  }
  for (let index = Math.ceil(pruned / TILE_WIDTH); index * TILE_WIDTH < size; index++) {
    await copyOne('entries', index, Math.min(TILE_WIDTH, size - index * TILE_WIDTH))
  }
  await put(join(folder, CHECKPOINT), signed)
  return before
}

function toCheckpoint(signed: Buffer | undefined): Checkpoint | undefined {
  const note = signed && parseNote(signed.toString('utf8'))
  return note && parseCheckpoint(note.text)
}

/** The verification that follows checks the signature. */
function countPruned(bytes: Buffer): number {
  try {
    const { statement } = JSON.parse(bytes.toString('utf8')) as {
      readonly statement?: { readonly entries?: unknown }
    }
    return Number(statement?.entries) || 0
  } catch {
    return 0
  }
}

async function put(path: string, bytes: Buffer): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 })
  const temporary = `${path}.new`
  await rm(temporary, { force: true })
  const handle = await open(temporary, 'wx', 0o640)
  try {
    await handle.writeFile(bytes)
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
}
