/** Serves log files to remote readers. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CHECKPOINT } from '../writer/log-files.ts'
import { CERTIFICATE, isLog, VERIFIER_KEY } from '../writer/log-folder.ts'
import { PRUNED } from '../writer/pruning.ts'

const FIXED: ReadonlySet<string> = new Set([CHECKPOINT, CERTIFICATE, VERIFIER_KEY, PRUNED])
/**
 * Matches tile paths as in c2sp.org/tlog-tiles: levels go up to 63, indexes are in groups of three
 * digits, and a partial tile's name includes its width.
 */
const TILE = /^tile\/(?:entries|[0-5]?\d|6[0-3])\/(?:x\d{3}\/){0,5}\d{3}(?:\.p\/[1-9]\d{0,2})?$/

/**
 * Returns a log file that remote readers may fetch; undefined if there is none. No name can lead to
 * the write-ahead log or to a file outside the directory. The cost does not depend on the number of
 * logs.
 */
export async function readLogFile(
  root: string,
  log: string,
  path: string,
): Promise<Buffer | undefined> {
  if (!FIXED.has(path) && !TILE.test(path)) return undefined
  if (!(await isLog(root, log))) return undefined
  return readFile(join(root, log, path)).catch((error: unknown) => {
    const { code = '' } = error as NodeJS.ErrnoException
    if (!['ENOENT', 'ENOTDIR', 'EISDIR'].includes(code)) throw error
    return undefined
  })
}
