/** Runs commands from the documents themselves, in order, with only placeholders replaced. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { workspace } from '../support/cli.ts'
import { shownCommands, toWords } from '../support/shown-commands.ts'

/** Returns a function that runs a shown command and requires exit code 0. */
async function reader(t: Test) {
  const place = await workspace(t, { keyStores: [{ name: 'payroll', prefix: '/payroll' }] })
  const { publicKey } = (await place.json('receipt', 'key')) as { readonly publicKey: string }
  let switchId = ''
  return async (command: string) => {
    const values: Readonly<Record<string, string>> = {
      SWITCH_ID: switchId,
      PUBLIC_KEY: publicKey,
      NAME: 'payroll',
      'receipt.json': join(place.folder, 'receipt.json'),
    }
    const words = toWords(command).map((word) => values[word] ?? word)
    const { code, stdout, stderr } = await place.run(...words)
    t.equal(code, 0, `latchkey ${command}\n${stdout}${stderr}`)
    if (words[0] === 'receipt' && words[1] === 'show')
      await writeFile(join(place.folder, 'receipt.json'), stdout)
    const { switches } = (await place.json('status')) as { switches: readonly { id: string }[] }
    switchId = switches[0]?.id ?? switchId
  }
}

void t.test('the kill switch as the README shows it', async (t) => {
  const run = await reader(t)
  const shown = shownCommands('README.md').filter((command) => !command.startsWith('simulate'))
  t.equal(shown.length, 5)
  for (const command of shown) await run(command)
})

void t.test('the run-book, from the kill to the restoration', async (t) => {
  const run = await reader(t)
  const shown = shownCommands('docs/run-book.md')
  t.ok(shown.length >= 12, shown.join('\n'))
  for (const command of shown) await run(command)
})
