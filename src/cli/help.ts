/** Help texts, made from the commands themselves. */
// SPDX-License-Identifier: Apache-2.0
import { COMMON_FLAGS, type Flag, type NamedCommand } from '../terminal/command.ts'
import { EXIT_CODES } from './exit-codes.ts'

export function overview(commands: readonly Pick<NamedCommand, 'name' | 'summary'>[]): string {
  const width = Math.max(...commands.map((command) => command.name.length))
  return [
    'Latchkey: an AWS KMS External Key Store (XKS) proxy',
    '',
    'usage: latchkey COMMAND [FLAGS]',
    '',
    ...commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`),
    '',
    'latchkey COMMAND --help has flags and examples.',
    '',
    'exit codes:',
    ...Object.values(EXIT_CODES).map(
      ({ code, meaning }) => `  ${String(code).padStart(3)}  ${meaning}`,
    ),
  ].join('\n')
}

export function commandHelp(command: NamedCommand): string {
  const flags = { ...command.flags, ...COMMON_FLAGS }
  const left = Object.entries(flags).map(([name, flag]) => flagName(name, flag))
  const width = Math.max(...left.map((text) => text.length))
  return [
    command.summary,
    '',
    `usage: ${usageOf(command)}`,
    '',
    'flags:',
    ...Object.values(flags).map(
      (flag, i) => `  ${(left[i] ?? '').padEnd(width)}  ${flag.description}`,
    ),
    '',
    'examples:',
    ...command.examples.map((example) => `  ${example}`),
  ].join('\n')
}

export function usageOf(command: NamedCommand): string {
  return ['latchkey', command.name, ...(command.operands ?? []), '[FLAGS]'].join(' ')
}

function flagName(name: string, flag: Flag): string {
  const short = flag.short === undefined ? '    ' : `-${flag.short}, `
  return `${short}--${name}${flag.value === undefined ? '' : ` ${flag.value}`}`
}
