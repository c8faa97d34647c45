/** Tests the program's help output, and its suggestions for typos. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { COMMON_FLAGS } from '../../src/terminal/command.ts'
import { COMMANDS, loadCommand } from '../../src/cli/commands.ts'
import { EXIT_CODES } from '../../src/cli/exit-codes.ts'
import { GROUPS } from '../../src/cli/help.ts'
import { run } from '../../src/cli/run.ts'
import { latchkey, latchkeyHere, startLatchkey } from '../support/cli.ts'
import { read, section } from '../support/repository.ts'

const PROJECT = JSON.parse(read('package.json')) as { readonly version: string }
const DOCUMENT = read('docs/cli.md')
const ALL = await Promise.all([...COMMANDS.keys()].map(loadCommand))

void t.test('version prints the versions of Latchkey, the specification and Node.js', async (t) => {
  const expected = `latchkey ${PROJECT.version}, XKS Proxy API 1.0.3, Node.js ${process.version}\n`
  for (const words of [['version'], ['--version']])
    t.strictSame(await latchkey(t, words), { code: 0, stdout: expected, stderr: '' })
  const { code, stdout } = await latchkey(t, ['version', '--json'])
  t.equal(code, 0)
  t.strictSame(JSON.parse(stdout), {
    latchkey: PROJECT.version,
    xksProxyApi: '1.0.3',
    node: process.version,
  })
})

void t.test('help lists every command and every exit code', async (t) => {
  const { code, stdout, stderr } = await latchkey(t, ['--help'])
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const { name, summary } of ALL)
    t.ok(
      stdout.split('\n').some((line) => line.startsWith(`  ${name} `) && line.endsWith(summary)),
      name,
    )
  for (const { code, meaning } of Object.values(EXIT_CODES))
    t.ok(stdout.includes(`${String(code)}  ${meaning}\n`), `exit code ${String(code)}`)
  t.equal((await latchkey(t, ['help'])).stdout, stdout)
  t.equal((await latchkey(t, ['-h'])).stdout, stdout)
})

void t.test('help is in groups, and every command is in one', async (t) => {
  const { stdout } = await latchkey(t, ['--help'])
  const headings = [...stdout.matchAll(/^([A-Z][A-Za-z ]+):$/gm)].map(([, heading]) => heading)
  t.strictSame(headings, [...Object.keys(GROUPS), 'Exit codes'])
  const words = Object.values(GROUPS).flat()
  for (const { name } of ALL) t.ok(words.includes(name.split(' ')[0] ?? ''), name)
  for (const word of words)
    t.ok(
      ALL.some(({ name }) => name.split(' ')[0] === word),
      word,
    )
})

void t.test('help fits the terminal', async (t) => {
  for (const columns of [80, 60]) {
    for (const { name } of [{ name: '' }, ...ALL]) {
      let text = ''
      const words = name === '' ? [] : name.split(' ')
      const stdout = (part: string) => {
        text += part
      }
      await run([...words, '--help'], {}, { stdout, stderr: stdout, columns })
      const [prose = ''] = text.split('\nexamples:\n')
      const long = prose.split('\n').filter((line) => line.length > columns)
      t.strictSame(
        long.filter((line) => !line.startsWith('usage: ')),
        [],
        `${name} at ${String(columns)}`,
      )
    }
  }
})

void t.test('an unknown command is an error, with --help too', async (t) => {
  for (const words of [
    ['sevre', '--help'],
    ['help', 'sevre'],
    ['keys', 'crate', '--help'],
  ]) {
    const { code, stdout, stderr } = await latchkey(t, words)
    t.equal(code, 64)
    t.equal(stdout, '')
    t.match(
      stderr,
      /error: unknown command .*\n.*hint: did you mean latchkey (serve|keys create)\?/,
    )
  }
})

void t.test("each command's help shows its flags and an example", async (t) => {
  for (const { name, summary, flags, operands = [] } of ALL) {
    const { code, stdout, stderr } = await latchkeyHere([...name.split(' '), '--help'])
    t.equal(code, 0, name)
    t.equal(stderr, '')
    t.ok(stdout.startsWith(`${summary}\n\nusage: latchkey ${[name, ...operands].join(' ')} `))
    for (const flag of [...Object.keys(flags), ...Object.keys(COMMON_FLAGS)])
      t.match(stdout, `--${flag}`, `${name} has --${flag}`)
    const [, examples = ''] = stdout.split('\nexamples:\n')
    t.match(examples, `latchkey ${name}`, `${name} has an example`)
  }
})

void t.test('help COMMAND works, and command groups have help too', async (t) => {
  const direct = await latchkey(t, ['keys', 'create', '--help'])
  t.strictSame(await latchkey(t, ['help', 'keys', 'create']), direct)
  const { code, stdout } = await latchkey(t, ['keys', '--help'])
  t.equal(code, 0)
  t.match(stdout, /^ {2}keys rotate /m)
  t.notMatch(stdout, /^ {2}serve /m)
})

void t.test('without a command, help is shown and the exit code is a usage error', async (t) => {
  const { code, stdout } = await latchkey(t, [])
  t.equal(code, 64)
  t.match(stdout, 'usage: latchkey COMMAND')
  t.equal(stdout.match(/^ {2}[a-z]/gm)?.length, 10, 'the ten that matter')
})

void t.test('examples use only existing flags', (t) => {
  for (const { name, examples, flags } of ALL) {
    for (const example of examples) {
      for (const call of example.split(/&&|\|/).filter((part) => part.includes(`latchkey ${name}`)))
        for (const [, flag = ''] of call.matchAll(/--([a-z-]+)/g))
          t.ok(flag in flags || flag in COMMON_FLAGS, `${name} has --${flag}: ${example}`)
    }
  }
  t.end()
})

void t.test('docs/cli.md has each command with its flags and examples', (t) => {
  for (const { name, summary, flags, examples } of ALL) {
    const part = section(DOCUMENT, `## \`${name}\``)
    t.match(part, `${summary}.`)
    for (const [flag, { description }] of Object.entries(flags))
      t.ok(part.includes(`--${flag}`) && part.includes(description), `${name} --${flag}`)
    for (const example of examples) t.ok(part.includes(`\n${example}\n`), example)
  }
  for (const { code, meaning } of Object.values(EXIT_CODES))
    t.ok(section(DOCUMENT, '## Exit codes').includes(`| ${String(code)} | ${meaning} |`))
  t.end()
})

const MISTAKES: readonly {
  readonly words: readonly string[]
  readonly error: string
  readonly hint: string
}[] = [
  {
    words: ['key', 'create', 'a'],
    error: 'unknown command key create',
    hint: 'did you mean latchkey keys create?',
  },
  {
    words: ['keys', 'crate', 'a'],
    error: 'unknown command keys crate',
    hint: 'did you mean latchkey keys create?',
  },
  { words: ['sevre'], error: 'unknown command sevre', hint: 'did you mean latchkey serve?' },
  {
    words: ['frobnicate'],
    error: 'unknown command frobnicate',
    hint: 'run latchkey --help to list the commands',
  },
  {
    words: ['--verbose'],
    error: 'unknown command --verbose',
    hint: 'run latchkey --help to list the commands',
  },
  {
    words: ['credentials'],
    error: 'latchkey credentials requires a subcommand: create, list, expire, revoke',
    hint: 'run latchkey credentials --help to see the subcommands',
  },
  {
    words: ['keys', 'list', '--colour', 'blue'],
    error: "unknown option '--colour'",
    hint: 'usage: latchkey keys list [FLAGS]',
  },
  {
    words: ['serve', '-x'],
    error: "unknown option '-x'",
    hint: 'usage: latchkey serve [FLAGS]',
  },
  {
    words: ['serve', '--config'],
    error: "option '-c, --config <value>' argument missing",
    hint: 'usage: latchkey serve [FLAGS]',
  },
  {
    words: ['version', '--json=yes'],
    error: "option '--json' does not take an argument",
    hint: 'usage: latchkey version [FLAGS]',
  },
  {
    words: ['keys', 'create'],
    error: 'expected KEY_ID, found 0',
    hint: 'usage: latchkey keys create KEY_ID [FLAGS]',
  },
  {
    words: ['keys', 'destroy-version', 'a'],
    error: 'expected KEY_ID VERSION, found 1',
    hint: 'usage: latchkey keys destroy-version KEY_ID VERSION [FLAGS]',
  },
  {
    words: ['version', 'extra'],
    error: 'expected no operands, found 1',
    hint: 'usage: latchkey version [FLAGS]',
  },
]

void t.test(
  'a usage error exits with 64, an error and a hint, and prints nothing to standard output',
  async (t) => {
    for (const { words, error, hint } of MISTAKES)
      t.strictSame(
        await latchkeyHere(words),
        { code: 64, stdout: '', stderr: `latchkey: error: ${error}\nlatchkey: hint: ${hint}\n` },
        words.join(' '),
      )
  },
)

void t.test('with --json, a usage error is one JSON document on standard error', async (t) => {
  const { code, stdout, stderr } = await latchkey(t, ['keys', 'list', '--json', '--colour'])
  t.equal(code, 64)
  t.equal(stdout, '')
  t.strictSame(JSON.parse(stderr), {
    error: {
      code: 'USAGE',
      message: "unknown option '--colour'",
      hint: 'usage: latchkey keys list [FLAGS]',
    },
  })
})

void t.test('closing the output early is not an error', async (t) => {
  const child = startLatchkey(t, ['--help'])
  child.process.stdout?.destroy()
  t.strictSame(await child.ended(), { code: 0, stdout: '', stderr: '' })
})
