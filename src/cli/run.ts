/** Finds the command, parses its flags, runs it, and converts the result or the error to output and an exit code. */
// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util'
import { UNPRINTABLE } from '../core/remark.ts'
import { suggest } from '../core/suggest.ts'
import { allFlagsOf, type FlagValue, UsageError, type NamedCommand } from '../terminal/command.ts'
import { COMMANDS, loadCommand } from './commands.ts'
import { EXIT_CODES, toExitCode } from './exit-codes.ts'
import { commandHelp, groupOverview, overview, shortOverview, usageOf } from './help.ts'
import { createOutput, type Output, type Streams } from '../terminal/output.ts'

/**
 * Runs a command line.
 * @returns the exit code
 */
export async function run(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  streams: Streams,
): Promise<number> {
  let output = createOutput(streams, argv.includes('--json'), argv.includes('--wide'))
  try {
    const found = findCommand(argv)
    if (found === undefined) return showOverview(argv, streams)
    const { name, rest } = found
    const command = await loadCommand(name)
    const { flags, operands } = parseFlags(command, rest)
    if (flags['help'] === true) {
      streams.stdout(`${commandHelp(command, streams.columns ?? Infinity)}\n`)
      return EXIT_CODES.ok.code
    }
    checkOperands(command, operands)
    if (flags['dry-run'] === true && flags['yes'] === true) {
      throw new UsageError('USAGE', '--dry-run and --yes cannot be combined')
    }
    output = await createFormatted(streams, flags)
    await command.run({ operands, flags, output, environment })
    output.endProgress()
    return EXIT_CODES.ok.code
  } catch (error) {
    const code = toExitCode(error)
    const isBug = code === EXIT_CODES.internal.code
    output.error(error, { withStack: isBug || environment['LATCHKEY_DEBUG'] === '1' })
    return code
  }
}

/** @throws UsageError for an unknown output format */
async function createFormatted(
  streams: Streams,
  { as: format, json, wide }: Readonly<Record<string, FlagValue>>,
): Promise<Output> {
  if (format === undefined) return createOutput(streams, json === true, wide === true)
  if (format === 'json') return createOutput(streams, true)
  if (format === 'wide') return createOutput(streams, json === true, true)
  if (format !== 'yaml') {
    throw new UsageError(
      'USAGE',
      `unknown output format ${String(format)}: expected json, yaml or wide`,
    )
  }
  const { stringify } = await import('yaml')
  return createOutput(streams, true, true, (value) => {
    const text = stringify(value)
    // In YAML, only quoted strings can contain the escapes that the output uses.
    const isPrintable = text.replaceAll('\n', '').search(UNPRINTABLE) < 0
    return isPrintable ? text : stringify(value, { defaultStringType: 'QUOTE_DOUBLE' })
  })
}

interface Found {
  readonly name: string
  readonly rest: readonly string[]
}

/** Finds a command by its name of one to three words: `serve`, `keys create`, `admin tokens list`. */
function findCommand(argv: readonly string[]): Found | undefined {
  if (argv[0] === 'help' && argv.length > 1) return findCommand([...argv.slice(1), '--help'])
  if (argv[0] === '--version') return findCommand(['version', ...argv.slice(1)])
  for (const words of [3, 2, 1]) {
    const name = argv.slice(0, words).join(' ')
    if (COMMANDS.has(name)) return { name, rest: argv.slice(words) }
  }
  return undefined
}

/**
 * Handles arguments that do not name a command: prints an overview if one was requested, and an
 * error otherwise.
 */
function showOverview(argv: readonly string[], streams: Streams): number {
  const columns = streams.columns ?? Infinity
  const all = [...COMMANDS].map(([name, { summary }]) => ({ name, summary }))
  // `latchkey help keys` is the same as `latchkey keys --help`.
  const words = argv[0] === 'help' ? argv.slice(1) : argv
  const [first = '', second = '', ...others] = words
  const isDeep = all.some(({ name }) => name.startsWith(`${first} ${second} `))
  const word = isDeep ? `${first} ${second}` : first
  const more = isDeep ? others : words.slice(1)
  const group = all.filter(({ name }) => name.startsWith(`${word} `))
  const wantsHelp = argv[0] === 'help' || argv.includes('--help') || argv.includes('-h')
  const show = (text: string) => {
    streams.stdout(`${text}\n`)
    return argv.length === 0 ? EXIT_CODES.usage.code : EXIT_CODES.ok.code
  }
  if (argv.length === 0) return show(shortOverview(all, columns))
  if (wantsHelp && words.every((one) => one.startsWith('-'))) return show(overview(all, columns))
  const names = group.map(({ name }) => name)
  if (group.length > 0 && more.every((one) => one.startsWith('-'))) {
    if (wantsHelp) return show(groupOverview(group, columns))
    throw new UsageError(
      'USAGE',
      `latchkey ${word} requires a subcommand: ${names.map(lastWord).join(', ')}`,
      {
        hint: `run latchkey ${word} --help to see the subcommands`,
      },
    )
  }
  throw unknownCommand(words, names)
}

/** @param group the commands that share the first word of the unknown command */
function unknownCommand(argv: readonly string[], group: readonly string[]): UsageError {
  const names = group.length > 0 ? group : [...COMMANDS.keys()]
  const words = argv.filter((one) => !one.startsWith('-'))
  const asked = words.slice(0, 2).join(' ') || (argv[0] ?? '')
  const renamed = RENAMED.get(words[0] ?? '')
  if (renamed !== undefined) {
    return new UsageError('USAGE', `unknown command ${asked}`, {
      hint: `the command is now latchkey ${[renamed, ...words.slice(1, 2)].join(' ')}`,
    })
  }
  const near = suggest(asked, names) ?? suggest(words[0] ?? '', names)
  return new UsageError('USAGE', `unknown command ${asked}`, {
    hint:
      near === undefined
        ? 'run latchkey --help to list the commands'
        : `did you mean latchkey ${near}?`,
  })
}

/** First words of commands that had a different name in earlier releases. */
const RENAMED: ReadonlyMap<string, string> = new Map([['lease', 'deadman']])

function lastWord(name: string): string {
  return name.split(' ').at(-1) ?? name
}

function parseFlags(command: NamedCommand, rest: readonly string[]) {
  const options = Object.fromEntries(
    Object.entries(allFlagsOf(command)).map(([name, { type, short, isRepeatable = false }]) => [
      name,
      short === undefined ? { type, multiple: isRepeatable } : { type, short },
    ]),
  )
  try {
    const parsed = parseArgs({ args: [...rest], options, allowPositionals: true, strict: true })
    return {
      flags: parsed.values as Record<string, FlagValue>,
      operands: parsed.positionals,
    }
  } catch (error) {
    const [sentence = ''] = (error instanceof Error ? error.message : '').split('. ')
    throw new UsageError('USAGE', sentence.charAt(0).toLowerCase() + sentence.slice(1), {
      hint: `usage: ${usageOf(command)}`,
    })
  }
}

function checkOperands(command: NamedCommand, operands: readonly string[]): void {
  const expected = command.operands ?? []
  if (operands.length === expected.length) return
  throw new UsageError(
    'USAGE',
    `expected ${expected.length === 0 ? 'no operands' : expected.join(' ')}, found ${String(operands.length)}`,
    { hint: `usage: ${usageOf(command)}` },
  )
}
