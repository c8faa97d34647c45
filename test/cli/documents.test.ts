/** Runs the commands shown in the documents, in order, replacing only the placeholders. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { latchkey, workspace } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { recordUsage } from '../support/recorded-usage.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { shownCommands, toWords } from '../support/shown-commands.ts'

/** Returns a function that runs a command from a document and expects exit code 0. */
async function reader(t: Test) {
  const place = await workspace(t, { keyStores: [{ name: 'payroll', prefix: '/payroll' }] })
  const { publicKey } = (await place.json('receipt', 'key')) as { readonly publicKey: string }
  let switchId = ''
  let tokenId = ''
  return async (command: string) => {
    const values: Readonly<Record<string, string>> = {
      SWITCH_ID: switchId,
      PUBLIC_KEY: publicKey,
      '0f3a5c7d9e1b': switchId,
      '…': publicKey,
      NAME: 'payroll',
      'bob.token': join(place.folder, 'bob.token'),
      TOKEN_ID: tokenId,
      'receipt.json': join(place.folder, 'receipt.json'),
    }
    const words = toWords(command).map((word) => values[word] ?? word)
    const { code, stdout, stderr } = await place.run(...words)
    t.equal(code, 0, `latchkey ${command}\n${stdout}${stderr}`)
    if (words[0] === 'receipt' && words[1] === 'show')
      await writeFile(join(place.folder, 'receipt.json'), stdout)
    const { switches } = (await place.json('status')) as { switches: readonly { id: string }[] }
    switchId = switches[0]?.id ?? switchId
    const [token] = (await place.json('admin', 'tokens', 'list')) as readonly { id: string }[]
    tokenId = token?.id ?? ''
  }
}

void t.test('the kill switch as the README shows it', async (t) => {
  const run = await reader(t)
  const shown = shownCommands('README.md').filter((command) => !command.startsWith('simulate'))
  t.equal(shown.length, 5)
  for (const command of shown) await run(command)
})

void t.test('the run-book, from the kill to the restore', async (t) => {
  const run = await reader(t)
  const shown = shownCommands('docs/run-book.md')
  t.ok(shown.length >= 12, shown.join('\n'))
  for (const command of shown) await run(command)
})

void t.test('docs/admin.md: operators and receipts', async (t) => {
  const run = await reader(t)
  await run('kill --key-store payroll --reason "contract ended"')
  const shown = shownCommands('docs/admin.md')
  t.equal(shown.length, 9)
  for (const command of shown) await run(command)
})

/** The request that docs/policy.md explains, both as a policy test case and as a log line. */
const REQUEST = {
  ...{ keyStore: 'payroll', operation: 'Decrypt', kmsOperation: 'Decrypt' },
  awsPrincipalArn: 'arn:aws:iam::111122223333:role/Payroll',
}

void t.test('docs/policy.md: from a suggestion to enforced policies', async (t) => {
  const place = await workspace(t, { keyStores: [{ name: 'payroll', prefix: '/payroll' }] })
  await recordUsage(place, REQUEST.awsPrincipalArn, 'payroll')
  const file = (name: string) => join(place.folder, name)
  await writeFile(file('request.yaml'), JSON.stringify({ ...REQUEST, key: 'key-1' }))
  const line = { ...REQUEST, msg: 'request', keyId: 'key-1', time: new Date().toISOString() }
  await writeFile(file('latchkey.log'), JSON.stringify({ ...line, kmsRequestId: '0c9f6ba4-…' }))
  const values: Readonly<Record<string, string>> = {
    'first.cedar': file('first.cedar'),
    'request.yaml': file('request.yaml'),
    '/var/log/latchkey.log': file('latchkey.log'),
  }
  const shown = shownCommands('docs/policy.md')
  t.equal(shown.length, 9)
  for (const command of shown) {
    const words = toWords(command).map((word) => values[word] ?? word)
    const { code, stdout, stderr } = await place.run(...words)
    t.equal(code, 0, `latchkey ${command}\n${stdout}${stderr}`)
    if (words[1] === 'suggest') await writeFile(file('first.cedar'), stdout)
  }
})

/**
 * The test server has no public name or public certificate, and does not use port 443. On a busy machine it may be too
 * slow for KMS.
 */
const IGNORED = 'host-name,port,tls-authority,time-encrypt,time-decrypt,time-new-connection'
const TRIAL = ['--ignore', IGNORED, '--idle', '1', '--requests', '20']

void t.test('docs/doctor.md', async (t) => {
  const server = await startTestServer(t)
  const values: Readonly<Record<string, string>> = {
    'https://xks.example.com': `https://localhost:${String(server.port)}`,
    'kms-console.json': await writeConsoleFile(server),
    'payroll-2026': KEY_ID,
  }
  const shown = shownCommands('docs/doctor.md')
  t.equal(shown.length, 1)
  for (const command of shown) {
    const words = toWords(command).map((word) => values[word] ?? word)
    const { code, stdout } = await latchkey(t, [...words, '--ca', server.pki.caFile, ...TRIAL])
    t.equal(code, 0, `latchkey ${command}\n${stdout}`)
  }
})
