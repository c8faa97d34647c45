/** Builds the help output from the commands themselves. */
// SPDX-License-Identifier: Apache-2.0
import { allFlagsOf, type Flag, type NamedCommand } from '../terminal/command.ts'
import { EXIT_CODES } from './exit-codes.ts'

type Summary = Pick<NamedCommand, 'name' | 'summary'>

/** Headings of the overview, each with the first words of its commands. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  Run: ['quickstart', 'init', 'serve', 'config'],
  'Stop and restore': ['kill', 'restore', 'deadman', 'drill', 'receipt', 'control'],
  'Keys and credentials': ['keys', 'credentials', 'pkcs11'],
  Operators: ['login', 'operators', 'admin', 'context'],
  Policies: ['policy'],
  'Audit log': ['audit'],
  Tripwire: ['tripwire'],
  'The control store': ['store'],
  KMS: ['register', 'rotate-credentials', 'unregister', 'simulate', 'kms'],
  Webhooks: ['webhooks'],
  Measure: ['bench', 'report'],
  Inspect: ['status', 'events', 'exposure', 'doctor', 'completion', 'manual', 'version'],
}

/** Commands that `latchkey` without arguments shows. */
const ESSENTIAL: readonly string[] = [
  ...['quickstart', 'init', 'serve', 'kill', 'restore', 'status'],
  ...['keys create', 'credentials create', 'register', 'doctor'],
]

const HEAD = [
  'Latchkey: an AWS KMS External Key Store (XKS) proxy',
  '',
  'usage: latchkey COMMAND [FLAGS]',
  '',
]

/** Lists the commands that a newcomer needs. @param columns width of the terminal */
export function shortOverview(commands: readonly Summary[], columns: number): string {
  const shown = ESSENTIAL.flatMap((name) => commands.filter((command) => command.name === name))
  return [
    ...HEAD,
    ...toRows(shown, columns),
    '',
    ...wrap('Run latchkey --help for every command and the exit codes.', columns),
    ...wrap('Run latchkey COMMAND --help for flags and examples.', columns),
  ].join('\n')
}

/** Lists the commands that share a first word. */
export function groupOverview(commands: readonly Summary[], columns: number): string {
  const more = wrap('Run latchkey COMMAND --help for flags and examples.', columns)
  return [...HEAD, ...toRows(commands, columns), '', ...more].join('\n')
}

/** Lists every command under headings, and the exit codes. */
export function overview(commands: readonly Summary[], columns: number): string {
  const nameWidth = Math.max(...commands.map(({ name }) => name.length))
  const groups = Object.entries(GROUPS).flatMap(([heading, words]) => [
    `${heading}:`,
    ...toRows(
      words.flatMap((word) => commands.filter(({ name }) => name.split(' ')[0] === word)),
      columns,
      nameWidth,
    ),
    '',
  ])
  return [
    ...HEAD,
    ...groups,
    ...wrap('Run latchkey COMMAND --help for flags and examples.', columns),
    '',
    'Exit codes:',
    ...toColumns(
      Object.values(EXIT_CODES).map(({ code, meaning }) => [String(code).padStart(3), meaning]),
      columns,
    ),
  ].join('\n')
}

export function commandHelp(command: NamedCommand, columns: number): string {
  const flags = allFlagsOf(command)
  return [
    ...wrap(command.summary, columns),
    '',
    `usage: ${usageOf(command)}`,
    '',
    'flags:',
    ...toColumns(
      Object.entries(flags).map(([name, flag]) => [flagName(name, flag), flag.description]),
      columns,
    ),
    '',
    'examples:',
    ...command.examples.map((example) => `  ${example}`),
  ].join('\n')
}

function toRows(commands: readonly Summary[], columns: number, nameWidth = 0): readonly string[] {
  return toColumns(
    commands.map(({ name, summary }) => [name, summary]),
    columns,
    nameWidth,
  )
}

/**
 * If fewer columns than this are left, or too few for the longest word, a description is printed
 * below its name instead of next to it.
 */
const LEAST_TEXT = 24

/** Formats two columns and wraps the text of the second. */
function toColumns(
  rows: readonly (readonly [string, string])[],
  columns: number,
  leastWidth = 0,
): readonly string[] {
  const width = Math.max(leastWidth, ...rows.map(([name]) => name.length))
  const room = columns - width - 4
  const longest = Math.max(
    LEAST_TEXT,
    ...rows.flatMap(([, text]) => text.split(' ').map((word) => word.length)),
  )
  return rows.flatMap(([name, text]) => {
    if (room < longest) {
      return [`  ${name}`, ...wrap(text, columns - 8).map((line) => `        ${line}`)]
    }
    const indent = ' '.repeat(width + 4)
    return wrap(text, room).map((line, i) =>
      i === 0 ? `  ${name.padEnd(width)}  ${line}` : indent + line,
    )
  })
}

/** Wraps text to lines of at most `columns` characters; a longer word gets its own line. */
function wrap(text: string, columns: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

export function usageOf(command: NamedCommand): string {
  return ['latchkey', command.name, ...(command.operands ?? []), '[FLAGS]'].join(' ')
}

function flagName(name: string, flag: Flag): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `
  return `${short}--${name}${flag.value === undefined ? '' : ` ${flag.value}`}`
}
