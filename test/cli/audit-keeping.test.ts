/** Tests `latchkey audit prune`, hashed principals, and `latchkey audit witness` as a separate process. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { logsOf, readPlainly } from '../support/audit.ts'
import { latchkeyHere, startLatchkey, temporaryFolder } from '../support/cli.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { call, encryptBody, requestMetadata } from '../support/wire.ts'

const ALICE = 'arn:aws:iam::123456789012:user/Alice'

void t.test('prune shows what it would remove, and removes it with --yes', async (t) => {
  const server = await startTestServer(t, { config: { audit: { mode: 'buffered' } } })
  await call(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  await server.stop()
  const run = (...words: readonly string[]) =>
    latchkeyHere(['audit', ...words], { LATCHKEY_CONFIG: server.configFile })
  const reason = ['--reason', 'retention', '--operator', 'alice']
  t.match(await run('prune', ...reason), { code: 64, stderr: /--before/ })
  t.match(await run('prune', '--before', '1d', ...reason), { code: 0, stdout: /no bundle/ })
  t.match(await run('prune', '--before', 'now', ...reason), {
    code: 0,
    stdout: /ENTRIES +PRUNED BEFORE +PRUNED NOW\n\S+ +3 +0 +3\n/,
    stderr: /nothing was removed/,
  })
  t.match(await run('search'), { stdout: /Encrypt/ })
  t.match(await run('prune', '--before', 'now', ...reason, '--yes'), { code: 0, stderr: '' })
  t.notMatch(await run('search'), { stdout: /Encrypt/ })
  t.match(await run('verify'), { code: 0, stdout: / 3 +0 +0 +3 .*closed +valid/ })
  t.match(await run('prune', '--before', 'now', ...reason), { stdout: /no bundle/ })
  const { stdout } = await latchkeyHere(['status', '--events', '--json'], {
    LATCHKEY_CONFIG: server.configFile,
  })
  t.match(JSON.parse(stdout), {
    events: [{ kind: 'audit-pruned', operator: 'alice', detail: { entries: 3 } }],
  })
})

void t.test(
  'a log with hashed principals contains no names, but can be searched by name',
  async (t) => {
    const server = await startTestServer(t, {
      config: { audit: { mode: 'buffered', principals: 'hashed' } },
    })
    await call(server, `/keys/${KEY_ID}/encrypt`, {
      ...encryptBody(),
      requestMetadata: requestMetadata('Encrypt', {
        ...{
          awsPrincipalArn: ALICE,
          kmsRequestId: 'of-alice',
          sourceIdentity: 'alice@example.com',
        },
      }),
    })
    await server.stop()
    const run = (...words: readonly string[]) =>
      latchkeyHere(['audit', ...words], { LATCHKEY_CONFIG: server.configFile })
    const [log = ''] = await logsOf(server.config)
    t.notMatch(readFileSync(join(log, 'tile/entries/000.p/3'), 'latin1'), /alice@|Alice/)
    const principalHash = (await run('principal-hash', ALICE)).stdout.trim()
    t.match(principalHash, /^[0-9a-f]{64}$/)
    t.match(readPlainly(log)[1], { kmsRequestId: 'of-alice', awsPrincipalHash: principalHash })
    for (const name of [ALICE, principalHash]) {
      t.match(await run('search', '--principal', name), { stdout: /of-alice/ })
    }
    for (const name of [ALICE.replace('Alice', 'Bob'), '*']) {
      t.notMatch(await run('search', '--principal', name), { stdout: /of-alice/ })
    }
    t.match(await run('verify'), { code: 0 })
    const file = join(server.folder, 'cloudtrail.json')
    const event = (arn: string) => ({
      ...{ eventSource: 'kms.amazonaws.com', eventName: 'Encrypt', requestID: 'of-alice' },
      eventTime: `${String(readPlainly(log)[1]?.['time']).slice(0, 19)}Z`,
      userIdentity: { type: 'IAMUser', arn },
      resources: [{ type: 'AWS::KMS::Key', ARN: readPlainly(log)[1]?.['kmsKeyArn'] }],
    })
    const reconcile = (arn: string) => {
      writeFileSync(file, JSON.stringify({ Records: [event(arn)] }))
      return run('reconcile', '--cloudtrail', file)
    }
    t.match(await reconcile(ALICE), { code: 0, stdout: /1 in both/ })
    t.match(await reconcile(`${ALICE}2`), { code: 1, stdout: /principal-differs/ })
  },
)

void t.test('latchkey audit witness as a process', async (t) => {
  const folder = await temporaryFolder(t)
  const policy = join(folder, 'logs.policy')
  writeFileSync(policy, 'quorum none\n')
  const words = ['audit', 'witness', '--folder', join(folder, 'state'), '--listen', '127.0.0.1:0']
  const logs = ['--logs', policy]
  t.match(await latchkeyHere(words), { code: 64, stderr: /--logs/ })
  t.match(await latchkeyHere([...words, ...logs]), { code: 1, stderr: /requires a name/ })
  const running = startLatchkey(t, [...words, ...logs, '--name', 'w.example'], { cwd: folder })
  const [, key = '', port = ''] = await running.shows(
    /^witness (\S+) listening on 127.0.0.1:(\d+), 0 logs$/m,
  )
  t.match(key, /^w\.example\+[0-9a-f]{8}\+/)
  const answer = await fetch(`http://127.0.0.1:${port}/add-checkpoint`, { method: 'POST' })
  t.equal(answer.status, 404)
  t.match(await running.ended('SIGTERM'), { code: 0 })
  t.match(await latchkeyHere([...words, ...logs, '--name', 'x.example']), { code: 65 })
})
