/** Finds the commands that documents show in their code blocks. */
// SPDX-License-Identifier: Apache-2.0
import { read } from './repository.ts'

/**
 * Returns the lines of code blocks that call `latchkey`, without the name of the program, the
 * comment at the end and redirections. A backslash at the end joins a line with the next.
 */
export function shownCommands(document: string): readonly string[] {
  // Matches blocks of every language, so that the end of one is not taken for the start of another.
  const blocks = [...read(document).matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```/gm)]
  return blocks
    .filter(([, language = '']) => ['', 'sh', 'bash'].includes(language))
    .flatMap(([, , text = '']) => text.replaceAll(/\\\n\s*/g, ' ').split('\n'))
    .flatMap((line) => {
      const [, command] = /^\s*(?:latchkey|node dist\/src\/main\.js) ([a-z-].*)$/.exec(line) ?? []
      // A diagram can also contain a line that begins with a command.
      if (command === undefined || /[\u2500-\u257f]/.test(command)) return []
      return [command.replace(/ {2,}#.*$| [>|] .*$/, '').trim()]
    })
}

/** Splits a command at spaces outside of double quotes. */
export function toWords(command: string): readonly string[] {
  return [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')
}
