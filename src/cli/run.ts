/** Finds the command, parses its flags, runs it, and turns what happens into output and an exit code. */
// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util'
import { COMMON_FLAGS, UsageError, type Command } from './command.ts'
import { COMMANDS } from './commands.ts'
import { EXIT_CODES, toExitCode } from './exit-codes.ts'
import { commandHelp, overview, usageOf } from './help.ts'
import { createOutput, type Streams } from './output.ts'

/** @returns the exit code */
export async function run(
  argv: readonly string[],
  environment: NodeJS.ProcessEnv,
  streams: Streams,
): Promise<number> {
  const output = createOutput(streams, argv.includes('--json'))
  try {
    const found = findCommand(argv)
    if (found === undefined) return showOverview(argv, streams)
    const { command, rest } = found
    const { flags, operands } = parseFlags(command, rest)
    if (flags['help'] === true) {
      streams.stdout(`${commandHelp(command)}\n`)
      return EXIT_CODES.ok.code
    }
    checkOperands(command, operands)
    await command.run({ operands, flags, output, environment })
    return EXIT_CODES.ok.code
  } catch (error) {
    output.error(error)
    const code = toExitCode(error)
    const isBug = code === EXIT_CODES.internal.code
    if (isBug || environment['LATCHKEY_DEBUG'] === '1') {
      streams.stderr(`${error instanceof Error ? (error.stack ?? '') : ''}\n`)
    }
    return code
  }
}

/** Names have one word or two: `serve`, `keys create`. */
function findCommand(
  argv: readonly string[],
): { readonly command: Command; readonly rest: readonly string[] } | undefined {
  for (const words of [2, 1]) {
    const command = COMMANDS.find(({ name }) => name === argv.slice(0, words).join(' '))
    if (command !== undefined) return { command, rest: argv.slice(words) }
  }
  return undefined
}

function showOverview(argv: readonly string[], streams: Streams): number {
  const [word] = argv
  const group = COMMANDS.filter(({ name }) => name.startsWith(`${word ?? ''} `))
  const asked =
    word === undefined || word === 'help' || argv.includes('--help') || argv.includes('-h')
  const text = overview(group.length > 0 ? group : COMMANDS)
  if (asked) {
    streams.stdout(`${text}\n`)
    return word === undefined ? EXIT_CODES.usage.code : EXIT_CODES.ok.code
  }
  if (group.length > 0)
    throw new UsageError(
      'USAGE',
      `latchkey ${word}: which one? ${group.map((c) => c.name).join(', ')}`,
    )
  throw new UsageError('USAGE', `there is no command ${argv.slice(0, 2).join(' ')}`, {
    hint: 'latchkey --help lists the commands',
  })
}

function parseFlags(command: Command, rest: readonly string[]) {
  const options = Object.fromEntries(
    Object.entries({ ...command.flags, ...COMMON_FLAGS }).map(([name, { type, ...flag }]) => [
      name,
      'short' in flag ? { type, short: flag.short } : { type },
    ]),
  )
  try {
    const parsed = parseArgs({ args: [...rest], options, allowPositionals: true, strict: true })
    return {
      flags: parsed.values as Record<string, string | boolean>,
      operands: parsed.positionals,
    }
  } catch (error) {
    const [sentence = ''] = (error instanceof Error ? error.message : '').split('. ')
    throw new UsageError('USAGE', sentence.charAt(0).toLowerCase() + sentence.slice(1), {
      hint: `usage: ${usageOf(command)}`,
    })
  }
}

function checkOperands(command: Command, operands: readonly string[]): void {
  const expected = command.operands ?? []
  if (operands.length === expected.length) return
  throw new UsageError(
    'USAGE',
    `expected ${expected.length === 0 ? 'no operands' : expected.join(' ')}, found ${String(operands.length)}`,
    { hint: `usage: ${usageOf(command)}` },
  )
}
