/**
 * Implements `latchkey manual`, which prints the man pages, for installations without a package.
 */
// SPDX-License-Identifier: Apache-2.0
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Command, type NamedCommand, stringFlag } from '../../terminal/command.ts'
import { writeNewFile } from '../../terminal/files.ts'
import { commandPage, settingsPage } from '../manual.ts'

export function createManual(loadAll: () => Promise<readonly NamedCommand[]>): Command {
  return {
    flags: {
      install: {
        type: 'string',
        value: 'DIR',
        description: 'Install latchkey(1) and latchkey.yaml(5) in this man page folder.',
      },
    },
    examples: ['latchkey manual | man -l -', 'latchkey manual --install ~/.local/share/man'],
    async run(context) {
      const page = commandPage(await loadAll())
      const folder = stringFlag(context, 'install')
      if (folder === undefined) {
        context.output.result(page, { page })
        return
      }
      const { CONFIG_SCHEMA } = await import('../../config/schema.ts')
      const pages = { 'man1/latchkey.1': page, 'man5/latchkey.yaml.5': settingsPage(CONFIG_SCHEMA) }
      const files: string[] = []
      for (const [name, text] of Object.entries(pages)) {
        const file = join(folder, name)
        await mkdir(join(file, '..'), { recursive: true })
        // Replace an earlier release's page without following a link.
        await rm(file, { force: true })
        await writeNewFile(file, text, 0o644)
        files.push(file)
      }
      context.output.result(files.map((file) => `wrote ${file}`).join('\n'), { files })
    },
  }
}
