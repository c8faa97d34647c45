/** Tests `latchkey audit …` on the logs of a real server. */
// SPDX-License-Identifier: Apache-2.0
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { latchkeyHere } from '../support/cli.ts'
import { logsOf } from '../support/audit.ts'
import { ocsfValidator } from '../support/ocsf.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const ROUNDS = 5

void t.test('verify, search, prove, export and tail', async (t) => {
  const server = await startTestServer(t, { config: { audit: { mode: 'buffered' } } })
  const client = server.client()
  for (let i = 0; i < ROUNDS; i++) {
    const body = (kind: string, more: Record<string, unknown>) =>
      JSON.stringify({
        ...more,
        requestMetadata: requestMetadata(kind, { kmsRequestId: `${kind}-${String(i)}` }),
      })
    const sealed = await client.post(`/keys/${KEY_ID}/encrypt`, body('Encrypt', encryptBody()))
    const input = decryptBody(sealed.body as Record<string, unknown>)
    await client.post(`/keys/${KEY_ID}/decrypt`, body('Decrypt', input))
  }
  await client.post('/keys/missing/encrypt', JSON.stringify(encryptBody()))
  await server.stop()
  const run = (...words: readonly string[]) =>
    latchkeyHere(['audit', ...words], { LATCHKEY_CONFIG: server.configFile })
  const json = async (...words: readonly string[]) => {
    const { code, stdout, stderr } = await run(...words, '--json')
    t.equal(code, 0, stderr)
    return JSON.parse(stdout) as unknown
  }
  const [log = ''] = await logsOf(server.config)

  await t.test('verify', async (t) => {
    const { code, stdout } = await run('verify')
    t.equal(code, 0)
    t.match(
      stdout,
      /^LOG +ENTRIES +REQUESTS +LOST.*\ncontrol +4 .* valid\n\S+ +13 +11 +0 .* closed +valid\n$/,
    )
    const copy = join(server.folder, 'copy')
    cpSync(log, copy, { recursive: true })
    const { stdout: key } = await latchkeyHere(['receipt', 'key'], {
      LATCHKEY_CONFIG: server.configFile,
    })
    const words = ['audit', 'verify', '--folder', copy, '--public-key', key.trim()]
    t.match(await latchkeyHere(words), { code: 0, stderr: '' }, 'no store is needed')
    const bundle = join(copy, 'tile/entries/000.p/13')
    const bytes = readFileSync(bundle)
    writeFileSync(bundle, Buffer.from(bytes.toString('latin1').replace('Alice', 'Mallo'), 'latin1'))
    const changed = await latchkeyHere(words)
    t.equal(changed.code, 65)
    t.match(
      changed.stdout,
      /entry at entry 1 in tile\/entries\/000\.p\/13: the entry does not match its hash/,
    )
  })

  await t.test('search', async (t) => {
    const refused = (await json('search', '--outcome', 'refused')) as unknown[]
    t.match(refused, [{ errorName: 'KeyNotFoundException', keyId: 'missing' }])
    const decrypts = (await json('search', '--operation', 'Decrypt')) as unknown[]
    t.equal(decrypts.length, ROUNDS)
    t.same(await json('search', '--principal', 'arn:*:user/Bob'), [])
    const ofAlice = (await json('search', '--principal', 'arn:*:user/Alice')) as unknown[]
    t.equal(ofAlice.length, 2 * ROUNDS + 1)
    t.same(await json('search', '--until', '2001-01-01'), [])
    const cut = await run('search', '--limit', '3')
    t.match(cut, { code: 0, stderr: /more than 3 entries/ })
    t.equal(cut.stdout.trimEnd().split('\n').length, 4)
  })

  await t.test('prove and check-proof', async (t) => {
    const { code, stdout } = await run('prove', 'Decrypt-3')
    t.equal(code, 0)
    t.match(stdout, /^c2sp\.org\/tlog-proof@v1\nextra .*\nindex 8\n/)
    const file = join(server.folder, 'decrypt.tlog-proof')
    writeFileSync(file, stdout)
    t.match(await run('check-proof', file), {
      code: 0,
      stdout: /^valid: entry 8 of 13 in latchkey/,
    })
    writeFileSync(file, stdout.replace('index 8', 'index 7'))
    t.match(await run('check-proof', file), { code: 65 })
    t.match(await run('prove', 'nobody'), { code: 1, stderr: /no log has an entry/ })
  })

  await t.test('export', async (t) => {
    const lines = async (format: string) =>
      (await run('export', '--format', format)).stdout.trimEnd().split('\n')
    const [head, first] = await lines('csv')
    t.match(head, /^time,kmsRequestId,outcome,/)
    t.match(first, /,Encrypt-0,allowed,Encrypt,demo,test-key,1,arn:aws:iam::/)
    for (const format of ['jsonl', 'ecs', 'ocsf']) {
      const documents = (await lines(format)).map((line) => JSON.parse(line) as unknown)
      t.equal(documents.length, 2 * ROUNDS + 1, format)
    }
    const findFault = ocsfValidator()
    for (const line of await lines('ocsf')) t.equal(findFault(line), undefined, line)
    t.match(await run('export', '--format', 'xml'), { code: 64 })
  })

  await t.test('tail', async (t) => {
    const last = (await json('tail', '--count', '2')) as unknown[]
    t.match(last, [{ kmsRequestId: `Decrypt-${String(ROUNDS - 1)}` }, { keyId: 'missing' }])
  })

  await t.test('reconcile', async (t) => {
    const entries = (await json('search', '--outcome', 'allowed')) as Record<string, string>[]
    const toEvent = (entry: Record<string, string>) => ({
      eventSource: 'kms.amazonaws.com',
      eventName: entry['kmsOperation'],
      eventTime: `${String(entry['time']).slice(0, 19)}Z`,
      requestID: entry['kmsRequestId'],
      userIdentity: { type: 'IAMUser', arn: entry['awsPrincipalArn'] },
      resources: [{ type: 'AWS::KMS::Key', ARN: entry['kmsKeyArn'] }],
    })
    const file = join(server.folder, 'cloudtrail.json')
    const reconcile = (events: readonly unknown[]) => {
      writeFileSync(file, JSON.stringify({ Records: events }))
      return run('reconcile', '--cloudtrail', file)
    }
    const events = entries.map(toEvent)
    const same = await reconcile(events)
    t.match(same, { code: 0, stdout: /10 in the logs, 10 in CloudTrail, 10 in both/ })
    const without = await reconcile(events.toSpliced(4, 1))
    t.match(without, { code: 1, stderr: /1 differences? found/ })
    t.match(without.stdout, /not-in-cloudtrail .* Encrypt-2/)
    const more = await reconcile([...events, { ...events[0], requestID: 'elsewhere' }])
    t.match(more.stdout, /not-in-log .* elsewhere/)
    t.match(await run('reconcile'), { code: 64 })
  })

  await t.test('a log that is recorded in the store but missing on disk', async (t) => {
    rmSync(log, { recursive: true })
    t.match(await run('verify'), {
      code: 65,
      stdout: /missing: the store lists the log .*with 13 ent/,
    })
    rmSync(server.config.audit.folder, { recursive: true })
    t.match(await run('verify'), { code: 1, stderr: /does not contain an audit log/ })
  })
})
