/** Checks that every `latchkey` command shown in a document exists and has the flags that it uses. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { COMMANDS, loadCommand } from '../../src/cli/commands.ts'
import { COMMON_FLAGS } from '../../src/terminal/command.ts'
import { listFiles, read } from '../support/repository.ts'
import { shownCommands, toWords } from '../support/shown-commands.ts'

/** Commands that main.ts answers itself. */
const BUILT_IN: ReadonlySet<string> = new Set(['help', 'version'])

void t.test('commands in documents are commands, with flags that they have', async (t) => {
  let checked = 0
  for (const path of listFiles().filter((path) => path.endsWith('.md'))) {
    for (const command of shownCommands(path)) {
      const words = toWords(command)
      const [first = '', second = ''] = words
      if (BUILT_IN.has(first)) continue
      const name = [`${first} ${second}`, first].find((name) => COMMANDS.has(name))
      if (name === undefined) {
        t.fail(`${path}: there is no command "${command}"`)
        continue
      }
      const { flags } = await loadCommand(name)
      const known = { ...flags, ...COMMON_FLAGS }
      for (const word of words) {
        const [, flag] = /^--([a-z-]+)/.exec(word) ?? []
        if (flag !== undefined) t.ok(flag in known, `${path}: ${name} has --${flag}`)
      }
      checked += 1
    }
  }
  t.ok(checked > 50, `${String(checked)} commands`)
})

void t.test('npm scripts in documents are scripts of package.json', (t) => {
  const { scripts } = JSON.parse(read('package.json')) as { readonly scripts: object }
  for (const path of listFiles().filter((path) => path.endsWith('.md') && path !== 'CHANGELOG.md'))
    for (const [, name = ''] of read(path).matchAll(/npm run(?: -s)? ([a-z][a-z:-]*)/g))
      t.ok(name in scripts, `${path}: npm run ${name}`)
  t.end()
})
