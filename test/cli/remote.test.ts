/**
 * Runs operator commands, including the emergency run-book, against an admin listener from a folder without a
 * configuration or master key: with a token, with a client certificate, and with contexts.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { pki, startWithAdmin, token } from '../support/admin.ts'
import { latchkey, latchkeyHere, temporaryFolder, type Ended } from '../support/cli.ts'
import { KEY_ID } from '../support/server.ts'
import { openPage } from '../support/shown-commands.ts'

const page = openPage('docs/remote.md')
/** The listener's address and the token file in docs/remote.md. */
const ADDRESS = 'https://latchkey.example.com:8444'
const TOKEN_FILE = '~/.latchkey-token'
const REASON = ['--reason', 'contract ended']

async function start(t: Test, config: Record<string, unknown> = {}) {
  const server = await startWithAdmin(t, { activity: { flushInterval: '100ms' }, ...config })
  const folder = await temporaryFolder(t)
  const address = `https://localhost:${String(server.running.admin?.port)}`
  const base = { LATCHKEY_ADDR: address, LATCHKEY_CACERT: pki.caFile, HOME: folder }
  const as = (role: string) => (words: readonly string[]) =>
    latchkeyHere(words, { ...base, LATCHKEY_TOKEN: token(role) })
  const local = (words: readonly string[]) =>
    latchkeyHere([...words, '--config', server.configFile])
  return { server, folder, address, base, as, local }
}

const json = ({ stdout }: Ended) => JSON.parse(stdout) as Record<string, unknown>

void t.test('the emergency run-book, without the master key', async (t) => {
  // This store keeps the default warnings, including the one about a missing backup.
  const store = { path: 'latchkey.db', masterKey: { file: 'master.key' }, pollInterval: '50ms' }
  const { server, folder, address, base, as, local } = await start(t, { store })
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const operator = as('operator')

  const before = await operator(['status', '--json'])
  t.match(json(before), {
    switches: [],
    instances: [{}],
    storeWarnings: [/^latchkey store backup has not made a backup/],
  })
  const tokenFile = join(folder, '.latchkey-token')
  await writeFile(tokenFile, token('operator'), { mode: 0o600 })
  const exported = page.environment({ [ADDRESS]: address, [TOKEN_FILE]: tokenFile })
  const killed = await latchkey(t, page.take('kill', { payroll: 'demo' }), {
    ...{ cwd: folder, environment: { ...base, ...exported } },
  })
  t.equal(killed.code, 0, killed.stderr)
  t.match(killed.stdout, /^revoked key store demo after \d+ ms\nINSTANCE/)
  const [, id = ''] = /latchkey receipt show ([0-9a-f]+)/.exec(killed.stdout) ?? []
  t.equal(await encrypt(), 400)
  const during = (await operator(['status'])).stdout
  t.match(
    during,
    /^1 switch in force: key store demo, since .* UTC \(less than a minute ago\), by operator-token; 1 instance serving\n/,
  )
  t.match(during, /open, 1 switch /)
  t.match(during, new RegExp(`${id} .* operator-token .* contract ended`))
  const exposed = await operator(['exposure', '--switch', id, '--json'])
  t.match(json(exposed), { scope: { kind: 'key-store', keyStore: 'demo' } })

  const shown = await operator(['receipt', 'show', id])
  t.equal(shown.stdout, (await local(['receipt', 'show', id])).stdout, 'the same bytes')
  const key = (await operator(['receipt', 'key'])).stdout.trim()
  const file = join(folder, 'receipt.json')
  await writeFile(file, shown.stdout)
  const verified = await operator(['receipt', 'verify', file, '--public-key', key])
  t.match(verified.stdout, /^good signature/)
  t.match((await operator(['receipt', 'list'])).stdout, id)

  const refused = await operator(['restore', '--switch', id, ...REASON, '--yes'])
  t.equal(refused.code, 1)
  t.match(refused.stderr, /the role operator does not allow this/)
  const admin = as('admin')
  const preview = await admin(['restore', '--switch', id, ...REASON])
  t.match(preview.stdout, /^would lift:\n.*contract ended[^]*Add --yes/)
  t.equal(await encrypt(), 400, 'nothing was lifted yet')
  const restored = await admin(['restore', '--switch', id, ...REASON, '--yes'])
  t.match(restored.stdout, /^restored at epoch \d+:/)
  t.equal(restored.code, 0, restored.stderr)
})

void t.test('output and exit codes are the same as for the command on the store', async (t) => {
  const { as, local } = await start(t)
  const admin = as('admin')
  for (const words of [
    ['receipt', 'show', 'abc'],
    ['receipt', 'list'],
    ['receipt', 'key', '--json'],
    ['restore', '--key-store', 'demo', ...REASON, '--yes'],
    ['restore', 'approve', 'abc', '--yes'],
    ['restore', 'withdraw', 'abc', ...REASON],
    ['exposure', '--switch', 'abc'],
    ['kill', '--key-store', 'typo', ...REASON],
    ['kill', ...REASON],
    ['deadman', 'renew', '--reason', 'x'],
    ['deadman', 'end', '--reason', 'x'],
  ]) {
    const [here, there] = await Promise.all([local(words), admin(words)])
    t.equal(there.code, here.code, words.join(' '))
    t.equal(there.stdout, here.stdout, words.join(' '))
    const first = (text: string) => text.split('\n')[0]?.replace('in the configuration; ', '')
    t.equal(first(there.stderr), first(here.stderr), words.join(' '))
  }
})

void t.test('rehearsal, drill, and a dead man’s switch from start to finish', async (t) => {
  const { as } = await start(t)
  const admin = as('admin')
  const rehearsed = await admin(['kill', '--rehearse', '--all'])
  t.match(rehearsed.stdout, /^dry run for all, both: no request was refused/)
  t.match((await admin(['drill'])).stdout, /^revoked after \d+ ms, restored after \d+ ms\nINSTANCE/)
  const started = await admin(['deadman', 'start', '--for', '15m', ...REASON])
  t.match(started.stdout, /^demo is open until /)
  t.match((await admin(['deadman', 'close', ...REASON])).stdout, /^demo is closed/)
  const dry = await admin(['deadman', 'renew', ...REASON])
  t.equal(dry.code, 1, 'reopening needs --yes here too')
  t.match((await admin(['deadman', 'renew', ...REASON, '--yes'])).stdout, /^demo is open until /)
  const ended = await admin(['deadman', 'end', ...REASON, '--yes'])
  t.match(ended.stdout, /^demo is open without renewals/)
  const other = await as('operator')(['deadman', 'start', '--for', '15m', ...REASON])
  t.equal(other.code, 0, 'an operator may close more, so start one')
})

void t.test('a restore by two people, through two tokens', async (t) => {
  const { as, base } = await start(t, { control: { restore: { people: 2 } } })
  const admin = as('admin')
  t.equal((await admin(['kill', '--all', ...REASON])).code, 0)
  const asked = await admin(['restore', '--all', ...REASON, '--yes'])
  const [, id = ''] = /latchkey restore approve ([0-9a-f]+)/.exec(asked.stdout) ?? []
  t.not(id, '')
  const same = await admin(['restore', 'approve', id, '--yes'])
  t.equal(same.code, 1)
  const alice = await pki.issue('remote-alice', { commonName: 'alice', usage: 'client' })
  const environment = {
    ...base,
    LATCHKEY_CLIENT_CERT: alice.certificateFile,
    LATCHKEY_CLIENT_KEY: alice.privateKeyFile,
  }
  const approved = await latchkeyHere(['restore', 'approve', id, '--yes'], environment)
  t.match(approved.stdout, /^restored at epoch/, approved.stderr)
})

void t.test('a context names the listener, and never holds the token', async (t) => {
  const { address, folder, server } = await start(t)
  const environment = { HOME: folder }
  const run = (...words: string[]) => latchkeyHere(words, environment)
  const runInFolder = (...words: string[]) => latchkey(t, words, { cwd: folder, environment })
  const tokenFile = join(folder, 'token')
  await writeFile(tokenFile, `${token('viewer')}\n`, { mode: 0o600 })
  const flags = ['--address', address, '--token-file', 'token', '--ca', pki.caFile]
  t.match(
    (await runInFolder('context', 'add', 'lab', ...flags)).stdout,
    'added context lab; current context: lab',
  )
  const file = join(folder, '.config/latchkey/contexts.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.notMatch(await readFile(file, 'utf8'), token('viewer'))
  t.match(json(await run('status', '--json')), { epoch: Number })
  t.match((await run('context', 'list')).stdout, /^\* +lab +https:\/\/localhost/m)
  await run('context', 'use', 'local')
  t.equal((await runInFolder('status')).code, 78, 'no configuration is here')
  t.equal((await run(...page.take('status'))).code, 0)
  t.equal((await run('status', '--context', 'typo')).code, 65)
  const both = await run('status', '--context', 'lab', '--config', server.configFile)
  t.equal(both.code, 64)
  t.match(
    (await run('context', 'remove', 'lab')).stdout,
    'removed context lab; current context: local',
  )

  const prod = page.take('context add', { [ADDRESS]: address, [TOKEN_FILE]: tokenFile })
  for (const words of [[...prod, '--ca', pki.caFile], page.take('context use'), ['status']]) {
    const { code, stderr } = await latchkeyHere(words, environment)
    t.equal(code, 0, stderr)
  }
  t.same(page.remaining(), [], 'every command in docs/remote.md has been run')
})

void t.test('an unusable address is reported, with a hint', async (t) => {
  const { base, as } = await start(t)
  const status = (more: Record<string, string>) =>
    latchkeyHere(['status'], { ...base, LATCHKEY_TOKEN: token('viewer'), ...more })
  const closed = await status({ LATCHKEY_ADDR: 'https://localhost:1' })
  t.equal(closed.code, 69)
  t.match(closed.stderr, /cannot reach https:\/\/localhost:1: ECONNREFUSED/)
  const untrusted = await status({ LATCHKEY_CACERT: '' })
  t.equal(untrusted.code, 69)
  t.match(untrusted.stderr, /cannot reach .*CERT/)
  const plain = await status({ LATCHKEY_ADDR: 'http://192.0.2.1:8444' })
  t.equal(plain.code, 65)
  t.match(plain.stderr, 'plain HTTP is allowed only for loopback addresses')
  t.match((await status({ LATCHKEY_TOKEN: 'wrong' })).stderr, 'a valid client certificate or token')
  const other = await status({ LATCHKEY_ADDR: base.LATCHKEY_ADDR.replace(/\d+$/, '') + '1' })
  t.equal(other.code, 69)
  const named = await as('operator')(['kill', '--all', ...REASON, '--operator', 'bob'])
  t.equal(named.code, 64, 'an operator cannot take another name')
  const kill = await latchkeyHere(['kill', '--all', ...REASON, '--timeout', '2s'], {
    ...base,
    ...{ LATCHKEY_ADDR: 'https://localhost:1', LATCHKEY_TOKEN: 'x' },
  })
  t.equal(kill.code, 69)
  t.match(kill.stderr, /the kill is not confirmed; to stop a host now, send SIGUSR2/)
})
