// Collects the man pages and the bash completion script for the packages.
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { ROOT } from './process.mjs'

const built = (path) => import(join(ROOT, 'dist/src', path))

/** @returns {Promise<Record<string, string>>} the contents of the files, by file name */
export async function writeManual() {
  const { COMMANDS, loadCommand } = await built('cli/commands.js')
  const commands = await Promise.all([...COMMANDS.keys()].map(loadCommand))
  const { commandPage, settingsPage } = await built('cli/manual.js')
  const { CONFIG_SCHEMA } = await built('config/schema.js')
  return {
    'latchkey.1': commandPage(commands),
    'latchkey.yaml.5': settingsPage(CONFIG_SCHEMA),
    'latchkey.bash': await completion('bash'),
  }
}

/** Writes the script that `latchkey completion` prints. */
async function completion(shell) {
  const { loadCommand } = await built('cli/commands.js')
  const { run } = await loadCommand('completion')
  let script = ''
  const output = { result: (text) => (script = text) }
  await run({ operands: [shell], flags: {}, environment: {}, output })
  return script
}
