/** Tests output formats, shell completion, and the --dry-run and --yes flags. */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { latchkeyHere, startLatchkey, temporaryFolder, workspace } from '../support/cli.ts'

void t.test('-o selects the format, except in commands that define their own -o', async (t) => {
  const space = await workspace(t)
  await space.run('keys', 'create', 'one')
  const json = JSON.parse((await space.run('keys', 'list', '-o', 'json')).stdout) as unknown
  t.match(json, [{ keyId: 'one', status: 'ENABLED' }])
  t.same(parse((await space.run('keys', 'list', '-o', 'yaml')).stdout), json)
  t.same(parse((await space.run('keys', 'list', '--as', 'yaml')).stdout), json)
  t.match((await space.run('keys', 'list', '-o', 'wide')).stdout, /^KEY ID/)
  t.match(await space.run('keys', 'list', '-o', 'xml'), { code: 64, stderr: /json, yaml or wide/ })
  const file = join(space.folder, 'kms.json')
  t.match((await space.run('credentials', 'create', '-o', file)).stdout, file)
})

void t.test('--dry-run changes nothing, --yes does, and both together are refused', async (t) => {
  const space = await workspace(t)
  await space.run('keys', 'create', 'one')
  const shown = await space.run('keys', 'disable', 'one', '--dry-run')
  t.match(shown, { code: 0, stdout: 'would disable one: ENABLED' })
  t.match((await space.run('keys', 'list')).stdout, /^one +ENABLED/m)
  t.equal((await space.run('keys', 'disable', 'one', '--dry-run', '--yes')).code, 64)
  t.match((await space.run('keys', 'disable', 'one', '--yes')).stdout, 'disabled one: DISABLED')
  t.equal((await space.run('keys', 'disable', 'typo', '--dry-run')).code, 65)
  t.equal((await space.run('restore', 'approve', 'abc', '--dry-run')).code, 65)
})

void t.test('bash completes commands at every level, flags and files', async (t) => {
  const folder = await temporaryFolder(t)
  const { stdout } = await latchkeyHere(['completion', 'bash'])
  const script = join(folder, 'latchkey.bash')
  await writeFile(script, stdout)
  const complete = (...words: string[]) => {
    const quoted = words.map((word) => `'${word}'`).join(' ')
    const run = `. ${script}; COMP_WORDS=(latchkey ${quoted}); COMP_CWORD=${String(words.length)}
      _latchkey; echo "\${COMPREPLY[*]}"`
    return execFileSync('bash', ['-c', run], { encoding: 'utf8', cwd: folder }).trim()
  }
  t.equal(complete('keys', 'cre'), 'create')
  t.equal(complete('kill', '--rea'), '--reason')
  t.equal(complete('admin', 'tokens', ''), 'create list revoke')
  t.equal(complete('restore', ''), 'approve withdraw')
  t.equal(complete('restore', 'approve', '--dry'), '--dry-run')
  t.equal(complete('receipt', 'verify', 'latch'), 'latchkey.bash', 'a file')
  t.equal((await latchkeyHere(['completion', 'tcsh'])).code, 65)
})

void t.test('the zsh and fish scripts list every command', async (t) => {
  const zsh = (await latchkeyHere(['completion', 'zsh'])).stdout
  t.match(zsh, /^#compdef latchkey\n/)
  t.match(zsh, "'admin tokens') names=(create list revoke)")
  const fish = (await latchkeyHere(['completion', 'fish'])).stdout
  t.match(fish, `-n '__latchkey_at "admin tokens"' -a 'create list revoke'`)
  t.match(fish, `-n '__latchkey_below "restore approve"' -l dry-run`)
})

void t.test('events come oldest first, and new ones as they happen', async (t) => {
  const space = await workspace(t)
  const why = ['--key-store', 'demo', '--reason', 'x']
  await space.run('kill', ...why)
  t.match((await space.run('events')).stdout, /^1 {2}\S+Z {2}epoch \d+ {2}kill by /)
  const following = startLatchkey(t, ['events', '--follow'], { cwd: space.folder })
  await following.shows(/ kill by /)
  await space.run('restore', ...why, '--yes')
  await following.shows(/ restore by /)
  await following.ended('SIGTERM')
})
