/** Runs the commands shown in the documents, in order, replacing only the placeholders. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { MAIN, latchkey, workspace, type Workspace } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { recordUsage } from '../support/recorded-usage.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { openPage, shellBlocks, shownCommands, toWords } from '../support/shown-commands.ts'

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

/** Returns January 1 of the year that is `years` years from now. */
const yearIn = (years: number) => `${String(new Date().getUTCFullYear() + years)}-01-01`

void t.test('docs/keys.md: groups, tags and dates', async (t) => {
  const page = openPage('docs/keys.md')
  const place = await workspace(t)
  const run = async (words: readonly string[]) => {
    const { code, stdout, stderr } = await place.run(...words)
    t.equal(code, 0, `latchkey ${words.join(' ')}\n${stdout}${stderr}`)
    return stdout
  }
  const labels = join(place.folder, 'labels.yaml')
  const text = 'demo/tagged: { groups: [gold], tags: { owner: finance, purpose: test } }\n'
  await writeFile(labels, text)
  for (const name of ['tagged', 'other']) await run(['keys', 'create', name])
  await run(['policy', 'put', labels, '--reason', 'a test', '--yes', '--no-wait'])
  const listed = [
    await run(page.take('keys list --group')),
    await run(page.take('keys list --tag')),
  ]
  for (const output of listed) {
    t.match(output, 'tagged')
    t.notMatch(output, 'other')
  }

  // The dates in the document must be in the future, whenever the test runs.
  const [first, second, third] = [yearIn(1), yearIn(2), yearIn(3)]
  await run(page.take('keys create', { '2027-01-01': first, '2028-01-01': second }))
  t.match(await run(page.take('keys dates')), `${first}T`)
  const moved = await run(page.take('keys dates', { '2029-01-01': third }))
  t.match(moved, `${third}T`)
  t.notMatch(await run(page.take('keys dates')), `${first}T`, 'the key is active')

  const commands = page.take('keys import', { 'minutes.pdf': 'minutes.pdf' })
  t.equal(await receiveKey(commands, place), 'payroll')
  t.same(page.remaining(), [], 'every command in docs/keys.md has been run')
})

/**
 * Runs the shell commands of docs/keys.md that send a key by email, including those of OpenSSL.
 * @param words the command in the document that imports the key
 * @returns the id of the imported key
 */
async function receiveKey(words: readonly string[], place: Workspace): Promise<string> {
  const blocks = shellBlocks('docs/keys.md').filter((text) => text.includes('openssl '))
  const [recipient, sender, recipientAgain, ...rest] = blocks
  if (
    recipient === undefined ||
    sender === undefined ||
    recipientAgain === undefined ||
    rest.length > 0
  )
    throw new Error('docs/keys.md: expected three blocks with openssl')
  const env = { ...process.env, LATCHKEY_CONFIG: place.configFile }
  const shell = async (script: string) => {
    const program = `set -euo pipefail\nlatchkey() { '${process.execPath}' '${MAIN}' "$@"; }\n${script}`
    return (await promisify(execFile)('bash', ['-c', program], { cwd: place.folder, env })).stdout
  }
  await writeFile(join(place.folder, 'minutes.pdf'), 'who was present\n')
  await shell(recipient)
  const checkValue = (await shell(sender)).replaceAll(/\s/g, '')
  const shown = words[words.indexOf('--check-value') + 1] ?? ''
  await shell(recipientAgain.replace(shown, checkValue))
  const keys = (await place.json('keys', 'list')) as readonly { readonly keyId: string }[]
  return keys.find(({ keyId }) => keyId === words[2])?.keyId ?? ''
}
