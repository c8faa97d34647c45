/** Tests that every command follows the rules for --yes and --dry-run. */
// SPDX-License-Identifier: Apache-2.0
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { COMMANDS, loadCommand } from '../../src/cli/commands.ts'
import { EFFECTS } from '../../src/cli/effects.ts'
import { DRY_RUN_FLAG, YES_FLAG } from '../../src/terminal/command.ts'
import { workspace } from '../support/cli.ts'

/** Commands that act without confirmation but support --dry-run. */
const WITH_DRY_RUN: readonly string[] = ['keys rotate', 'register']
/** Commands that act without confirmation unless they restore access. */
const PARTLY: readonly string[] = ['deadman start', 'deadman renew']

void t.test('each command has one effect, and the flags that go with it', async (t) => {
  const listed = Object.values(EFFECTS).flatMap(({ commands }) => commands as readonly string[])
  t.same([...listed].sort(), [...COMMANDS.keys()].sort())
  const asking: readonly string[] = EFFECTS.asks.commands
  for (const name of COMMANDS.keys()) {
    const { flags } = await loadCommand(name)
    if (asking.includes(name)) {
      t.equal(flags['yes']?.description, YES_FLAG.yes.description, name)
      t.equal(flags['dry-run'], YES_FLAG['dry-run'], name)
      continue
    }
    t.equal(flags['dry-run'] !== undefined, WITH_DRY_RUN.includes(name), `${name} --dry-run`)
    const hasYes = PARTLY.includes(name) || name === 'keys rotate'
    t.equal(flags['yes'] !== undefined, hasYes, `${name} --yes`)
  }
  t.equal((await loadCommand('keys rotate')).flags['yes'], DRY_RUN_FLAG.yes)
  t.notOk('dry-run' in (await loadCommand('kill')).flags, 'a kill acts at once')
})

void t.test('commands that ask change nothing without --yes, and say so', async (t) => {
  const space = await workspace(t)
  const run = async (...words: string[]) => {
    const ended = await space.run(...words)
    t.equal(ended.code, 0, `${words.join(' ')}: ${ended.stderr}`)
    return ended.stdout
  }
  const json = async (...words: string[]) => JSON.parse(await run(...words, '--json')) as unknown
  const why = ['--reason', 'x']
  await run('keys', 'create', 'one')
  await run('keys', 'rotate', 'one')
  await run('credentials', 'create', '--output', join(space.folder, 'kms.json'))
  const [credential] = (await json('credentials', 'list')) as { accessKeyId: string }[]
  await run('operators', 'add', '--yes', 'alice', '--role', 'viewer')
  await run('admin', 'tokens', 'create', 'alice', '--output', join(space.folder, 'token'))
  const [token] = (await json('admin', 'tokens', 'list')) as { id: string }[]
  const policy = join(space.folder, 'main.cedar')
  await writeFile(policy, '@id("all") permit(principal, action, resource);\n')
  await run('policy', 'put', policy, ...why, '--yes', '--no-wait')
  await writeFile(policy, '@id("all") permit(principal, action, resource) when { true };\n')
  await run('policy', 'put', policy, ...why, '--yes', '--no-wait')
  await writeFile(policy, '@id("all") permit(principal, action, resource) when { 1 == 1 };\n')
  await run('policy', 'put', policy, '--shadow', ...why, '--yes', '--no-wait')
  await run('kill', '--key-store', 'demo', '--no-wait', ...why)
  await run('deadman', 'start', '--for', '1h', ...why)

  const state = async () => ({
    status: ((await json('status')) as { epoch: number }).epoch,
    keys: await json('keys', 'list'),
    credentials: await json('credentials', 'list'),
    tokens: ((await json('admin', 'tokens', 'list')) as object[]).length,
    operators: await json('operators', 'list'),
    keyFiles: (await readdir(space.folder)).filter((name) => name.endsWith('.key')),
    policies: await json('policy', 'history'),
  })
  const before = await state()
  const asked: readonly (readonly string[])[] = [
    ['restore', '--key-store', 'demo', ...why],
    ['deadman', 'end', ...why],
    ['keys', 'disable', 'one'],
    ['keys', 'enable', 'one'],
    ['keys', 'trust', 'one', ...why],
    ['keys', 'destroy-version', 'one', '1'],
    ['keys', 'approve-retirement', 'one', '1'],
    ['keys', 'shred', 'one', '1'],
    ['credentials', 'revoke', credential?.accessKeyId ?? ''],
    ['operators', 'remove', 'alice'],
    ['operators', 'add', 'alice', '--role', 'admin'],
    ['operators', 'add', 'mallory', '--role', 'admin'],
    ['operators', 'group', 'night', '--role', 'admin'],
    ['store', 'rekey', '--new-store-key'],
    ['store', 'rekey', '--new-master-key', join(space.folder, 'new.key')],
    ['admin', 'tokens', 'revoke', token?.id ?? ''],
    ['policy', 'delete', 'main', ...why],
    ['policy', 'promote', ...why],
    ['policy', 'discard', ...why],
    ['policy', 'rollback', '1', ...why],
    ['control', 'accept-epoch', ...why],
  ]
  for (const words of asked) {
    t.match(await run(...words), /Add --yes to do it\./, words.join(' '))
    const shown = await run(...words, '--dry-run')
    t.match(shown, /would/, `${words.join(' ')} --dry-run`)
    t.notMatch(await run(...words, '--json'), /"done":true/, words.join(' '))
  }
  t.same(await state(), before)
})
