/** Checks that every `latchkey` command shown in a document exists and accepts the flags shown. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { COMMANDS, loadCommand } from '../../src/cli/commands.ts'
import { COMMON_FLAGS } from '../../src/terminal/command.ts'
import { listFiles, read } from '../support/repository.ts'
import { shownCommands, toWords } from '../support/shown-commands.ts'

/** Commands that main.ts handles itself. */
const BUILT_IN: ReadonlySet<string> = new Set(['help', 'version'])

void t.test('commands in documents exist and have the flags shown', async (t) => {
  let checked = 0
  for (const path of listFiles().filter((path) => path.endsWith('.md'))) {
    for (const command of shownCommands(path)) {
      const words = toWords(command)
      const [first = '', second = '', third = ''] = words
      if (BUILT_IN.has(first)) continue
      const names = [`${first} ${second} ${third}`, `${first} ${second}`, first]
      const name = names.find((one) => COMMANDS.has(one))
      if (name === undefined) {
        t.fail(`${path}: unknown command "${command}"`)
        continue
      }
      const { flags } = await loadCommand(name)
      const known = { ...flags, ...COMMON_FLAGS }
      for (const word of words) {
        const [, flag] = /^--([a-z-]+)/.exec(word) ?? []
        if (flag !== undefined) t.ok(flag in known, `${path}: ${name} has --${flag}`)
      }
      checked += 1
    }
  }
  t.ok(checked > 50, `${String(checked)} commands`)
})

/** A test that runs only the commands that begin with `prefix`. */
interface TestOfPart {
  readonly prefix: string
  readonly test: string
}

/** Maps each document that contains commands to the test or tests that read and run them. */
const RUN_BY: Readonly<Record<string, string | readonly TestOfPart[]>> = {
  'README.md': 'test/cli/documents.test.ts',
  'docs/admin.md': 'test/cli/documents.test.ts',
  'docs/audit.md': 'test/cli/audit-document.test.ts',
  'docs/doctor.md': 'test/cli/documents.test.ts',
  'docs/keys.md': 'test/cli/documents.test.ts',
  'docs/kms.md': 'test/cli/kms.test.ts',
  'docs/latency.md': [
    { prefix: 'bench', test: 'test/cli/bench.test.ts' },
    { prefix: 'report', test: 'test/cli/report.test.ts' },
  ],
  'docs/moving.md': 'test/cli/pkcs11.test.ts',
  'docs/policy.md': 'test/cli/documents.test.ts',
  'docs/register.md': 'test/kms/documents.test.ts',
  'docs/remote.md': 'test/cli/remote.test.ts',
  'docs/retirement.md': 'test/cli/remote-retirement.test.ts',
  'docs/run-book.md': 'test/cli/documents.test.ts',
  'docs/simulate.md': 'test/cli/simulate.test.ts',
  'docs/store.md': 'test/contract/store-backup.test.ts',
  'docs/tripwire.md': 'test/cli/tripwire.test.ts',
  'docs/webhooks.md': 'test/cli/webhooks.test.ts',
}

/** Maps each of the other documents that contain commands to the reason why no test runs them. */
const NOT_RUN: Readonly<Record<string, string>> = {
  'docs/cli.md': 'lists examples of every command, for many different configurations',
  'docs/hsm/try.md':
    'needs an HSM: test/cli/pkcs11-certify.test.ts runs these commands on SoftHSM2',
  'docs/install.md':
    'needs a host: npm run check:package, check:packages and check:deployment run the commands',
  'docker/README.md':
    'needs a container engine: npm run check:container and npm run check:deployment run the commands without one',
}

void t.test('every document with commands is run by a test, or has a reason not to be', (t) => {
  const isForUsers = (path: string) =>
    path.endsWith('.md') && path !== 'CHANGELOG.md' && !path.startsWith('docs/internals/')
  const showing = listFiles().filter((path) => isForUsers(path) && shownCommands(path).length > 0)
  const known = new Set([...Object.keys(RUN_BY), ...Object.keys(NOT_RUN)])
  t.strictSame(
    showing.filter((path) => !known.has(path)),
    [],
    'run the commands in a test, or write down why not',
  )
  for (const [path, test] of Object.entries(RUN_BY)) {
    t.ok(showing.includes(path), `${path} shows commands`)
    const parts = typeof test === 'string' ? [{ prefix: '', test }] : test
    for (const { prefix, test } of parts) {
      const form = prefix === '' ? `'${path}'` : `'${path}', '${prefix}'`
      t.ok(read(test).includes(form), `${test} reads ${form}`)
    }
    for (const command of shownCommands(path)) {
      const runners = parts.filter(({ prefix }) => command.startsWith(prefix))
      t.equal(runners.length, 1, `${path}: one test runs ${command}`)
    }
    t.notOk(path in NOT_RUN, `${path} is listed once`)
  }
  t.end()
})

void t.test('npm scripts in documents exist in package.json', (t) => {
  const { scripts } = JSON.parse(read('package.json')) as { readonly scripts: object }
  for (const path of listFiles().filter((path) => path.endsWith('.md') && path !== 'CHANGELOG.md'))
    for (const [, name = ''] of read(path).matchAll(/npm run(?: -s)? ([a-z][a-z:-]*)/g))
      t.ok(name in scripts, `${path}: npm run ${name}`)
  t.end()
})
