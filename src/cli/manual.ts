/** Builds the man pages from the descriptions of commands and settings. */
// SPDX-License-Identifier: Apache-2.0
import { COMMON_FLAGS, type Flag, type NamedCommand } from '../terminal/command.ts'
import { EXIT_CODES } from './exit-codes.ts'

/** The parts of the JSON Schema of latchkey.yaml that the man page shows. */
interface Setting {
  readonly type?: unknown
  readonly description?: string
  readonly default?: unknown
  readonly items?: Setting
  readonly properties?: Readonly<Record<string, Setting>>
}

/** Escapes backslashes, dashes, and a control character at the start of a line for troff. */
function escape(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('`', '')
    .replace(/^([.'])/gm, '\\&$1')
    .replace(/[^\n -~]/gu, toNamed)
}

function toNamed(character: string): string {
  const code = character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0') ?? ''
  return `\\[u${code}]`
}

function head(name: string, section: number, about: string): readonly string[] {
  return [
    `.TH ${name.toUpperCase()} ${String(section)} "" Latchkey Latchkey`,
    ...['.SH NAME', `${escape(name)} \\- ${about}`],
  ]
}

function flagItem([name, flag]: readonly [string, Flag]): readonly string[] {
  const short = flag.short === undefined ? '' : `\\-${flag.short}, `
  const value = flag.value === undefined ? '' : ` ${flag.value}`
  return ['.TP', `.B ${short}\\-\\-${escape(name)}${value}`, escape(flag.description)]
}

/** Returns latchkey(1). */
export function commandPage(commands: readonly NamedCommand[]): string {
  const lines = [
    ...head('latchkey', 1, 'AWS KMS External Key Store proxy'),
    ...['.SH SYNOPSIS', '.B latchkey', '.I COMMAND', '[flags]'],
    ...['.SH DESCRIPTION', 'Serves external keys to AWS KMS, and stops serving them on demand.'],
    ...['.SH FLAGS OF EVERY COMMAND', ...Object.entries(COMMON_FLAGS).flatMap(flagItem)],
    '.SH COMMANDS',
    ...commands.flatMap(({ name, summary, flags, examples }) => [
      ...[`.SS latchkey ${escape(name)}`, `${escape(summary)}.`],
      ...Object.entries(flags).flatMap(flagItem),
      ...['.PP', '.nf', ...examples.map(escape), '.fi'],
    ]),
    '.SH EXIT STATUS',
    ...Object.values(EXIT_CODES).flatMap(({ code, meaning }) => [
      ...['.TP', `.B ${String(code)}`, escape(meaning)],
    ]),
    ...['.SH FILES', '.TP', '.I /etc/latchkey/latchkey.yaml', 'The configuration.'],
    ...['.TP', '.I /var/lib/latchkey', 'Store, master key and high\\-water mark.'],
    ...['.SH SEE ALSO', '.BR latchkey.yaml (5)'],
  ]
  return `${lines.join('\n')}\n`
}

/** Returns latchkey.yaml(5). @param schema JSON Schema of the configuration */
export function settingsPage(schema: Setting): string {
  const lines = [
    ...head('latchkey.yaml', 5, 'configuration of Latchkey'),
    ...[
      '.SH DESCRIPTION',
      'A YAML file. Paths are relative to its folder. An environment variable such as',
      'LATCHKEY_LISTENER__PORT overrides a setting. SIGHUP applies changes to key stores, quotas, admin',
      'listener callers and the log level.',
      ...['.SH SETTINGS', ...settingItems('', schema)],
    ],
    ...['.SH SEE ALSO', '.BR latchkey (1)'],
  ]
  return `${lines.join('\n')}\n`
}

function settingItems(path: string, one: Setting): readonly string[] {
  const isList = one.items?.type === 'object'
  const prefix = isList ? `${path}[]` : path
  const { properties = {} } = isList ? one.items : one
  return Object.entries(properties).flatMap(([name, child]) => {
    const own = prefix === '' ? name : `${prefix}.${name}`
    const plain = ['string', 'number', 'boolean'].includes(typeof child.default)
    const fallback = plain && child.default !== '' ? ` Default: ${String(child.default)}.` : ''
    const text = escape(`${child.description ?? ''}${fallback}`)
    return ['.TP', `.B ${escape(own)}`, text, ...settingItems(own, child)]
  })
}
