/** Runs the commands in docs/register.md, in order, against the KMS emulator. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ENDPOINT, keepPolling, registration } from '../support/registration.ts'
import { shownCommands, toWords } from '../support/shown-commands.ts'

/** Values for the placeholders in docs/register.md: the emulator's region and the test proxy's names. */
const VALUES: Readonly<Record<string, string>> = {
  'https://xks.example.com': ENDPOINT,
  'payroll-2026': 'payroll',
  payroll: 'demo',
  'eu-west-1': 'us-east-1',
}

/** Flags that shorten the waits, which last several minutes by default. */
const FLAGS: Readonly<Record<string, readonly string[]>> = {
  'rotate-credentials': ['--quiet', '1s', '--timeout', '60s'],
  unregister: [],
}

void t.test('docs/register.md, from register to unregister', async (t) => {
  const r = await registration(t)
  const shown = shownCommands('docs/register.md')
  t.equal(shown.length, 5)
  let stop: () => Promise<void> = () => Promise.resolve()
  for (const command of shown) {
    const words = toWords(command).map((word) => VALUES[word] ?? word)
    const [name] = words
    const flags = FLAGS[name ?? ''] ?? r.checkFlags
    const { code, stdout, stderr } = await r.latchkey(...words, ...flags)
    // As docs/register.md explains, unregister refuses while the store has KMS keys, and register has created one.
    const isRefused = name === 'unregister' && words.includes('--yes')
    t.equal(code, isRefused ? 1 : 0, `latchkey ${command}\n${stdout}${stderr}`)
    if (isRefused) t.match(stderr, 'demo has KMS keys')
    if (name === 'register') {
      const [store] = r.kms.kms.stores.describe()
      stop = keepPolling(r, store?.id ?? '')
    }
    if (name === 'rotate-credentials' && words.includes('--yes')) await stop()
  }
})
