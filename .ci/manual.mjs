// Writes man pages and the completion for bash from the descriptions of commands and settings.
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { ROOT } from './process.mjs'

const built = (path) => import(join(ROOT, 'dist/src', path))

/** Escapes text for troff: backslashes, dashes, and a control character at the start of a line. */
const roff = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('`', '')
    .replace(/^([.'])/gm, '\\&$1')
    .replace(
      /[^\x00-\x7e]/g,
      (character) => `\\[u${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )

const head = (name, section, about) => [
  `.TH ${name.toUpperCase()} ${section} "" Latchkey Latchkey`,
  '.SH NAME',
  `${roff(name)} \\- ${about}`,
]

function flagItem([name, flag]) {
  const short = flag.short === undefined ? '' : `\\-${flag.short}, `
  const value = flag.value === undefined ? '' : ` ${flag.value}`
  return ['.TP', `.B ${short}\\-\\-${roff(name)}${value}`, roff(flag.description)]
}

/** @returns {Promise<Record<string, string>>} text by the name of its file */
export async function writeManual() {
  const { COMMANDS, loadCommand } = await built('cli/commands.js')
  const commands = await Promise.all([...COMMANDS.keys()].map(loadCommand))
  const { COMMON_FLAGS } = await built('terminal/command.js')
  const { EXIT_CODES } = await built('cli/exit-codes.js')
  const { CONFIG_SCHEMA } = await built('config/schema.js')
  return {
    'latchkey.1': commandPage(commands, COMMON_FLAGS, EXIT_CODES),
    'latchkey.yaml.5': settingsPage(CONFIG_SCHEMA),
    'latchkey.bash': await completion('bash'),
  }
}

function commandPage(commands, commonFlags, exitCodes) {
  const lines = [
    ...head('latchkey', 1, 'AWS KMS External Key Store proxy'),
    ...['.SH SYNOPSIS', '.B latchkey', '.I COMMAND', '[flags]'],
    ...['.SH DESCRIPTION', 'Serves external keys to AWS KMS, and stops doing so when you say so.'],
    ...['.SH FLAGS OF EVERY COMMAND', ...Object.entries(commonFlags).flatMap(flagItem)],
    '.SH COMMANDS',
    ...commands.flatMap(({ name, summary, flags, examples }) => [
      ...[`.SS latchkey ${roff(name)}`, `${roff(summary)}.`],
      ...Object.entries(flags).flatMap(flagItem),
      ...['.PP', '.nf', ...examples.map(roff), '.fi'],
    ]),
    '.SH EXIT STATUS',
    ...Object.values(exitCodes).flatMap(({ code, meaning }) => [
      '.TP',
      `.B ${code}`,
      roff(meaning),
    ]),
    ...['.SH FILES', '.TP', '.I /etc/latchkey/latchkey.yaml', 'The configuration.'],
    ...['.TP', '.I /var/lib/latchkey', 'Store, master key and high\\-water mark.'],
    ...['.SH SEE ALSO', '.BR latchkey.yaml (5)'],
  ]
  return `${lines.join('\n')}\n`
}

function settingsPage(schema) {
  const rows = (path, one) => {
    const holder = one.items?.type === 'object' ? one.items : one
    const prefix = holder === one ? path : `${path}[]`
    return Object.entries(holder.properties ?? {}).flatMap(([name, child]) => {
      const own = prefix === '' ? name : `${prefix}.${name}`
      const plain = ['string', 'number', 'boolean'].includes(typeof child.default)
      const fallback = plain && child.default !== '' ? ` Default: ${String(child.default)}.` : ''
      const text = roff(`${child.description ?? ''}${fallback}`)
      return ['.TP', `.B ${roff(own)}`, text, ...rows(own, child)]
    })
  }
  const lines = [
    ...head('latchkey.yaml', 5, 'configuration of Latchkey'),
    ...[
      '.SH DESCRIPTION',
      'A YAML file. Paths are relative to its folder. An environment variable such as',
    ],
    ...[
      'LATCHKEY_LISTENER__PORT replaces a setting. SIGHUP applies changes of key stores, quotas, callers',
    ],
    ...['of the admin listener and the log level.', '.SH SETTINGS', ...rows('', schema)],
    ...['.SH SEE ALSO', '.BR latchkey (1)'],
  ]
  return `${lines.join('\n')}\n`
}

/** Writes the script that `latchkey completion` prints. */
async function completion(shell) {
  const { loadCommand } = await built('cli/commands.js')
  const { run } = await loadCommand('completion')
  let script = ''
  const output = { result: (text) => (script = text) }
  await run({ operands: [shell], flags: {}, environment: {}, output })
  return script
}
