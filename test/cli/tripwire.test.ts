/** Tests `latchkey tripwire suggest` and `latchkey tripwire simulate` on recorded usage. */
// SPDX-License-Identifier: Apache-2.0
import { appendFile } from 'node:fs/promises'
import t from 'tap'
import { parse } from 'yaml'
import { workspace } from '../support/cli.ts'
import { recordUsage } from '../support/recorded-usage.ts'
import { openPage } from '../support/shown-commands.ts'

t.setTimeout(120_000)

void t.test(
  'suggest writes a valid section; simulate reports what its rules would have done',
  async (t) => {
    const space = await workspace(t)
    const page = openPage('docs/tripwire.md')
    t.match(await space.run('tripwire', 'suggest'), { code: 65, stderr: /no successful Decrypt/ })
    t.match(await space.run('tripwire', 'simulate'), { code: 65, stderr: /no tripwire.rules/ })
    await recordUsage(space, 'arn:aws:iam::111122223333:user/alice')
    const suggested = await space.run(...page.take('tripwire suggest'))
    t.equal(suggested.code, 0)
    t.match(parse(suggested.stdout), { tripwire: { mode: 'rehearse', rules: Array } })
    await appendFile(space.configFile, `\n${suggested.stdout}`)
    t.match(await space.run(...page.take('tripwire simulate')), {
      code: 0,
      stdout: /^since .*: 4 requests would not have broken any rule\n$/,
    })
    t.same(page.remaining(), [], 'every command in docs/tripwire.md has been run')
    await appendFile(space.configFile, '    - { name: few, limit: 3, window: 1h, action: kill }\n')
    t.match(await space.json('tripwire', 'simulate'), {
      requests: 4,
      trips: [{ rule: 'few', action: 'kill', certain: 0, possible: 1, highest: 4 }],
    })
  },
)
