/** Tests that `latchkey config check` detects a witness policy that would prevent `serve` from starting. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { openWitnessKey } from '../../src/audit/witness/key.ts'
import { temporaryFolder, workspace } from '../support/cli.ts'

const { verifierKey } = await openWitnessKey(await temporaryFolder(t), 'witness.example', () => 0)

const POLICIES: Readonly<Record<string, readonly [string | undefined, RegExp]>> = {
  'a file that is not there': [undefined, /cannot read the witness policy .*w\.policy/],
  'a quorum of nothing': ['quorum all\n', /w\.policy: line 1: expected the word none/],
  'a witness without a URL that the quorum wants': [
    `witness W ${verifierKey}\nquorum W\n`,
    /w\.policy: the quorum cannot be reached, because too few witnesses have a URL/,
  ],
}

for (const [name, [policy, expected]] of Object.entries(POLICIES)) {
  void t.test(name, async (t) => {
    const space = await workspace(t)
    const config = parse(await readFile(space.configFile, 'utf8')) as Record<string, unknown>
    config['audit'] = { mode: 'buffered', witnesses: { policy: 'w.policy' } }
    await writeFile(space.configFile, stringify(config))
    if (policy !== undefined) await writeFile(join(space.folder, 'w.policy'), policy)
    const { code, stderr } = await space.run('config', 'check')
    t.equal(code, 78)
    t.match(stderr, expected)
    t.match(stderr, /audit\.witnesses\.policy: /)
    await writeFile(
      join(space.folder, 'w.policy'),
      `witness W ${verifierKey} https://witness.example\nquorum W\n`,
    )
    t.notMatch((await space.run('config', 'check')).stderr, /witnesses/)
  })
}
