/** Runs the commands in docs/audit.md: a server with a witness, and then an auditor who has the server's files. */
// SPDX-License-Identifier: Apache-2.0
import { cpSync, existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { pki, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, startLatchkey, temporaryFolder } from '../support/cli.ts'
import { KEY_ID, eventually } from '../support/server.ts'
import { openPage } from '../support/shown-commands.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const PUBLIC_KEY = '$(cat receipt-key.txt)'

void t.test('docs/audit.md, from the witness to the comparison with KMS', async (t) => {
  const page = openPage('docs/audit.md')
  const folder = await temporaryFolder(t)
  const file = (name: string) => join(folder, name)
  const policy = file('witnesses.policy')
  writeFileSync(policy, 'quorum none\n')
  const server = await startWithAdmin(t, {
    audit: {
      ...{ mode: 'strict', checkpointInterval: '100ms' },
      witnesses: { policy, interval: '1s' },
    },
  })
  const run = async (words: readonly string[], environment?: NodeJS.ProcessEnv) => {
    const result = await latchkeyHere(words, environment ?? { LATCHKEY_CONFIG: server.configFile })
    t.equal(result.code, 0, `latchkey ${words.join(' ')}\n${result.stdout}${result.stderr}`)
    return result.stdout
  }
  const publicKey = (await run(['receipt', 'key'])).trim()
  const root = server.config.audit.folder

  // A witness needs the control log's key, which exists once the server has run.
  const keyFile = join(root, 'control/log.vkey')
  await eventually(() => existsSync(keyFile))
  await server.stop()
  const stoppedAt = Date.now()
  // `until` has a resolution of a millisecond and must be later than the log's last entry.
  await eventually(() => Date.now() > stoppedAt)
  const until = new Date().toISOString()
  const key = readFileSync(keyFile, 'utf8').trim()
  writeFileSync(file('logs.policy'), `log ${key}\nquorum none\n`)
  const words = page.take('audit witness', {
    '/var/lib/witness': file('witness'),
    'logs.policy': file('logs.policy'),
    '0.0.0.0:8555': '127.0.0.1:0',
  })
  const witness = startLatchkey(t, words)
  const shown = await witness.shows(
    /^witness (auditor\.example\.com\S+) .*127\.0\.0\.1:(\d+), 1 log/m,
  )
  const [, witnessKey = '', port = ''] = shown
  writeFileSync(policy, `witness auditor ${witnessKey} http://127.0.0.1:${port}\nquorum auditor\n`)

  await server.start()
  const send = async (operation: string, body: object) => {
    const fields = { kmsRequestId: `of-${operation}` }
    const all = { ...body, requestMetadata: requestMetadata(operation, fields) }
    const { status, json } = await call(server, `/keys/${KEY_ID}/${operation.toLowerCase()}`, all)
    t.equal(status, 200)
    return json
  }
  await send('Decrypt', decryptBody(await send('Encrypt', encryptBody())))
  const isCosigned = /^latchkey_audit_witness_quorum 1$/m
  await eventually(async () => isCosigned.test(await server.running.metrics()))

  writeFileSync(file('auditor.token'), token('auditor'), { mode: 0o600 })
  const auditor = page.environment({
    'auditor.token': file('auditor.token'),
    'ca.pem': pki.caFile,
  })
  const remote = page.take('audit verify --url', {
    'https://latchkey.example.com:8444': `https://localhost:${String(server.running.admin?.port)}`,
    ...{ copies: file('copies'), [PUBLIC_KEY]: publicKey },
  })
  t.match(await run(remote, auditor), /\ncontrol .* valid\n/)
  await server.stop()

  const verified = await run(page.take('audit verify --policy', { 'witnesses.policy': policy }))
  t.match(verified, /\ncontrol .* valid\n/)
  const preview = await run(page.take('audit prune', { '400d': until }))
  t.match(preview, / 2 +0 +2\n$/, 'the log of the first start has two entries')
  t.equal(await run(page.take('audit prune', { '400d': until })), preview)
  t.match(await run(page.take('audit verify')), / 2 +0 +0 +2 .*valid/)
  cpSync(root, file('copy'), { recursive: true })
  const copy = { copy: file('copy'), [PUBLIC_KEY]: publicKey }
  t.match(await run(page.take('audit verify --folder', copy), {}), /\ncontrol .* valid\n/)

  const proof = file('decrypt.tlog-proof')
  writeFileSync(proof, await run(page.take('audit prove', { REQUEST_ID: 'of-Decrypt' })))
  const check = { 'decrypt.tlog-proof': proof, [PUBLIC_KEY]: publicKey }
  t.match(await run(page.take('audit check-proof', check), {}), /^valid: entry 2 of 4/)

  const found = await run(['audit', 'search', '--outcome', 'allowed', '--json'])
  const entries = JSON.parse(found) as readonly Readonly<Record<string, string>>[]
  const trail = file('CloudTrail')
  mkdirSync(trail)
  const events = entries.map((entry) => ({
    ...{ eventSource: 'kms.amazonaws.com', eventName: entry['kmsOperation'] },
    ...{ eventTime: entry['time'], requestID: entry['kmsRequestId'] },
    userIdentity: { type: 'IAMUser', arn: entry['awsPrincipalArn'] },
    resources: [{ type: 'AWS::KMS::Key', ARN: entry['kmsKeyArn'] }],
  }))
  writeFileSync(join(trail, 'events.json'), JSON.stringify({ Records: events }))
  const cloudtrail = { 'AWSLogs/123456789012/CloudTrail': trail }
  t.match(await run(page.take('audit reconcile', cloudtrail)), /2 in the logs, .* 2 in both/)

  const last = entries.find((entry) => entry['kmsRequestId'] === 'of-Decrypt')
  const usage = file('last-usage.json')
  const answer = {
    KeyId: last?.['kmsKeyArn'],
    KeyLastUsage: {
      ...{ Operation: 'Decrypt', Timestamp: last?.['time'], KmsRequestId: 'of-Decrypt' },
    },
    TrackingStartDate: '2026-01-01T00:00:00Z',
  }
  writeFileSync(usage, JSON.stringify(answer))
  // Requests in the 15 minutes before the file's time do not count, so date the file an hour later.
  const later = Date.now() / 1000 + 3600
  utimesSync(usage, later, later)
  await run(page.take('audit reconcile', { 'last-usage.json': usage }))

  t.same(page.remaining(), [], 'every command in docs/audit.md has been run')
})
