/** Finds the commands in the code blocks of documents. */
// SPDX-License-Identifier: Apache-2.0
import { read } from './repository.ts'

/**
 * Returns the code block lines that call `latchkey`, without the program's name, trailing comments and redirections. A
 * backslash at the end of a line joins it with the next.
 */
export function shownCommands(document: string): readonly string[] {
  // Match code blocks in every language, so that the end of one is not mistaken for the start of another.
  const blocks = [...read(document).matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```/gm)]
  return blocks
    .filter(([, language = '']) => ['', 'sh', 'bash'].includes(language))
    .flatMap(([, , text = '']) => text.replaceAll(/\\\n\s*/g, ' ').split('\n'))
    .flatMap((line) => {
      const [, command] = /^\s*(?:latchkey|node dist\/src\/main\.js) ([a-z-].*)$/.exec(line) ?? []
      // A line in a diagram may also begin with a command.
      if (command === undefined || /[\u2500-\u257f]/.test(command)) return []
      return [command.replace(/ {2,}#.*$| [>|] .*$/, '').trim()]
    })
}

/** Splits a command at spaces outside double quotes. */
export function toWords(command: string): readonly string[] {
  return [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')
}
