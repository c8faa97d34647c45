/** Where an instance keeps its two small files, the high-water mark and the sentinel, when a server holds the store. */
// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** The folder that the unit, the packages and the images give to the service. */
const SYSTEM_FOLDER = '/var/lib/latchkey'
/** Both files have this name, with an ending of their own. */
export const STATE_NAME = 'latchkey'

/**
 * The first of $STATE_DIRECTORY (set by systemd), /var/lib/latchkey and the folder of the configuration that holds a
 * high-water mark already; else the first that can be written to. A mark is never left behind for a folder that happens
 * to be writable: an instance without its mark would believe an old store. Where nothing can be written, the first
 * stands, and `serve` refuses to start with its path.
 */
export function findStateFolder(
  configurationFolder: string,
  environment: NodeJS.ProcessEnv,
  systemFolder = SYSTEM_FOLDER,
): string {
  // systemd separates several folders by colons.
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
