/** Finds the commands in the code blocks of documents. */
// SPDX-License-Identifier: Apache-2.0
import { read } from './repository.ts'

/** Returns the text of each shell code block, with lines that end in a backslash joined with the next. */
export function shellBlocks(document: string): readonly string[] {
  // Match code blocks in every language, so that the end of one is not mistaken for the start of another.
  const blocks = [...read(document).matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```/gm)]
  return blocks
    .filter(([, language = '']) => ['', 'sh', 'bash'].includes(language))
    .map(([, , text = '']) => text.replaceAll(/\\\n\s*/g, ' '))
}

/**
 * Returns the code block lines that call `latchkey`, without the program's name, trailing comments and redirections. A
 * backslash at the end of a line joins it with the next.
 */
export function shownCommands(document: string): readonly string[] {
  return shellBlocks(document)
    .flatMap((text) => text.split('\n'))
    .flatMap((line) => {
      const [, command] = /^\s*(?:latchkey|node dist\/src\/main\.js) ([a-z-].*)$/.exec(line) ?? []
      // A line in a diagram may also begin with a command.
      if (command === undefined || /[\u2500-\u257f]/.test(command)) return []
      return [command.replace(/ +# .*$| (?:>{1,2}|\|) .*$/, '').trim()]
    })
}

/** Maps each placeholder in a document to the value that a test uses instead. */
export type Placeholders = Readonly<Record<string, string>>

/** The commands in a document that a test has not run yet. */
export interface Page {
  /**
   * Removes the first remaining command that begins with `start`, and returns its words with the placeholders replaced.
   * A placeholder is a whole word. @throws if there is no such command, or if it lacks one of the placeholders
   */
  take(start: string, placeholders?: Placeholders): readonly string[]
  /** Returns the variables that the document exports. @throws if they lack one of the placeholders */
  environment(placeholders?: Placeholders): Readonly<Record<string, string>>
  /** Returns the commands that the test has not run. At the end of the test, there must be none. */
  remaining(): readonly string[]
}

/** @param prefix start of the commands to return, if other tests run the rest */
export function openPage(document: string, prefix = ''): Page {
  const remaining = shownCommands(document).filter((command) => command.startsWith(prefix))
  const replace = (words: readonly string[], placeholders: Placeholders, where: string) => {
    for (const placeholder of Object.keys(placeholders))
      if (!words.includes(placeholder)) throw new Error(`${where} lacks ${placeholder}`)
    return words.map((word) => placeholders[word] ?? word)
  }
  return {
    take(start, placeholders = {}) {
      const at = remaining.findIndex((command) => `${command} `.startsWith(`${start} `))
      const [command] = at === -1 ? [] : remaining.splice(at, 1)
      if (command === undefined) throw new Error(`${document} shows no command ${start}`)
      return replace(toWords(command), placeholders, `${document}: ${command}`)
    },
    environment(placeholders = {}) {
      const lines = shellBlocks(document).flatMap(
        (text) => text.match(/(?<=^\s*export ).*$/gm) ?? [],
      )
      const pairs = lines.flatMap((line) =>
        line.split(' ').map((pair) => /^(\w+)=(.*)$/.exec(pair)?.slice(1) ?? []),
      )
      const [names, values] = [0, 1].map((at) => pairs.map((pair) => pair[at] ?? ''))
      const replaced = replace(values ?? [], placeholders, `${document}: export`)
      return Object.fromEntries((names ?? []).map((name, at) => [name, replaced[at] ?? '']))
    },
    remaining: () => remaining,
  }
}

/** Splits a command at spaces outside double quotes. */
export function toWords(command: string): readonly string[] {
  return [...command.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '')
}
