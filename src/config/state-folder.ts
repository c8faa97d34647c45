/**
 * Finds the folder of an instance's two small files, the high-water mark and the sentinel, when
 * the store is in PostgreSQL.
 */
// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** State folder that the systemd unit, the packages and the images set up for the service. */
const SYSTEM_FOLDER = '/var/lib/latchkey'
/** Base name of both files; each has its own extension. */
export const STATE_NAME = 'latchkey'

/**
 * Returns the first of these folders that already holds a high-water mark: $STATE_DIRECTORY (set by
 * systemd), /var/lib/latchkey, and the configuration's folder. If none does, returns the first one
 * that is writable. A mark is never abandoned for another folder that happens to be writable,
 * because an instance without its mark would trust an old store. If no folder is writable, returns
 * the first one, and `serve` then refuses to start and reports its path.
 */
export function findStateFolder(
  configurationFolder: string,
  environment: NodeJS.ProcessEnv,
  systemFolder = SYSTEM_FOLDER,
): string {
  // systemd separates several folders with colons.
  const [given = ''] = (environment['STATE_DIRECTORY'] ?? '').split(':')
  const first = given === '' ? systemFolder : given
  const folders = [...new Set([first, systemFolder, configurationFolder])]
  const can = (path: string, mode: number) => {
    try {
      accessSync(path, mode)
      return true
    } catch {
      return false
    }
  }
  return (
    folders.find((folder) => can(join(folder, `${STATE_NAME}.epoch`), constants.F_OK)) ??
    folders.find((folder) => can(folder, constants.W_OK | constants.X_OK)) ??
    first
  )
}
