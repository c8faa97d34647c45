/** Tests `latchkey webhooks test` with every kind of receiver, and the webhook problems that `config check` reports. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { configFolder, SMALLEST } from '../support/config.ts'
import { temporaryFolder, workspace } from '../support/cli.ts'
import { read } from '../support/repository.ts'
import { shownCommands, toWords } from '../support/shown-commands.ts'
import { startReceiver } from '../support/receiver.ts'
import { testPki } from '../support/pki.ts'
import { authorizationOf } from '../support/sigv4-signer.ts'

const pki = await testPki()
const PAGE = read('docs/webhooks.md')
const TOPIC = 'arn:aws:sns:eu-west-1:111122223333:stops.fifo'
const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'

interface Entry {
  readonly to: Readonly<Record<string, object>>
}

void t.test('each kind of receiver gets messages in its own format', async (t) => {
  const [generic, slack, sns] = [
    await startReceiver(t),
    await startReceiver(t, { isPlain: true }),
    await startReceiver(t),
  ]
  const folder = await temporaryFolder(t)
  const keyFile = join(folder, 'webhook.key')
  const urlFile = join(folder, 'slack.url')
  await writeFile(keyFile, `${Buffer.alloc(32).toString('base64')}\n`, { mode: 0o600 })
  await writeFile(urlFile, `${slack.url}services/T0/B0\n`, { mode: 0o600 })
  const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(PAGE) ?? []
  const settings = parse(example) as { readonly webhooks: readonly [Entry, Entry, Entry] }
  const [pager, chat, topic] = settings.webhooks
  Object.assign(pager.to['generic'] ?? {}, {
    url: generic.url,
    key: { file: keyFile },
    ca: pki.caFile,
  })
  Object.assign(chat.to['slack'] ?? {}, { url: { file: urlFile } })
  Object.assign(topic.to['sns'] ?? {}, { topicArn: TOPIC, endpoint: sns.url, ca: pki.caFile })
  const { json, run } = await workspace(t, { settings })
  process.env['AWS_ACCESS_KEY_ID'] = 'AKIDEXAMPLE'
  process.env['AWS_SECRET_ACCESS_KEY'] = SECRET
  const shown = shownCommands('docs/webhooks.md').map(toWords)
  t.same(shown, [
    ['config', 'check'],
    ['webhooks', 'test'],
  ])
  const [check = [], send = []] = shown
  t.equal((await run(...check)).code, 0)
  const done = await json(...send, '--operator', 'R & D <ops>')
  t.match(done, {
    operator: 'R & D <ops>',
    tests: [
      { name: 'pager', kind: 'generic', delivered: true },
      { name: 'chat', kind: 'slack', delivered: true },
      { name: 'topic', kind: 'sns', delivered: true },
    ],
  })
  t.match(generic.messages(), [{ type: 'test', data: { operator: 'R & D <ops>' } }])
  t.equal(slack.received[0]?.path, '/services/T0/B0')
  t.match(slack.messages(), [{ text: /^Webhook test.* by R &amp; D &lt;ops&gt;\n/ }])

  const [published] = sns.received
  const { headers = {}, body = '', path: target = '' } = published ?? {}
  const fields = Object.fromEntries(new URLSearchParams(body))
  t.match(fields, {
    Action: 'Publish',
    TopicArn: TOPIC,
    Subject: /^Latchkey: Webhook test/,
    MessageGroupId: 'latchkey',
    MessageDeduplicationId: (done as { id: string }).id,
    Message: /"type":"test"/,
  })
  const { authorization = '' } = headers
  const signedNames = /SignedHeaders=([^,]+)/.exec(authorization)?.[1]?.split(';') ?? []
  t.ok(signedNames.includes('host') && signedNames.includes('x-amz-date'))
  const expected = authorizationOf({
    ...{ method: 'POST', target, body: Buffer.from(body), signedNames },
    headers: Object.entries(headers).map(([name, value]) => [name, String(value)] as const),
    amzDate: String(headers['x-amz-date']),
    ...{ region: 'eu-west-1', service: 'sns', accessKeyId: 'AKIDEXAMPLE' },
    secretAccessKey: SECRET,
  })
  t.equal(authorization, expected, 'a second signer agrees')

  slack.answer(404)
  const failed = await run('webhooks', 'test', '--webhook', 'chat')
  t.equal(failed.code, 1)
  t.match(failed.stdout, /chat +slack +the receiver responded with status 404: not now/)
  t.equal((await run('webhooks', 'test', '--webhook', 'nobody')).code, 65)
})

void t.test('configuration errors in webhooks are reported', async (t) => {
  const { faults } = await configFolder(t)
  const key = 'key: { env: K }'
  const entries = [
    `{ name: a, to: { generic: { url: 'http://hooks.example.com/', ${key} } } }`,
    `{ name: a, to: { generic: { url: 'http://127.0.0.1:1/', ${key} } }, timeout: 5s, giveUpAfter: 2s }`,
  ]
  t.strictSame(await faults(`${SMALLEST}\nwebhooks: [${entries.join(', ')}]`, { K: 'x' }), [
    'webhooks[0].to.generic.url: expected https, because hooks.example.com is not loopback',
    'webhooks[1].name: is already used by webhooks[0]: a',
    'webhooks[1].timeout: expected at most 2s, found 5s',
  ])
  const { run, folder } = await workspace(t, {
    settings: {
      webhooks: [
        {
          name: 'a',
          to: { generic: { url: 'https://x.example/', key: { file: 'k' }, ca: 'none.pem' } },
        },
        { name: 'b', to: { generic: { url: 'https://x.example/', key: { file: 'short' } } } },
      ],
    },
    withoutStore: true,
  })
  const write = (name: string, text: string) => writeFile(join(folder, name), text, { mode: 0o600 })
  await write('k', Buffer.alloc(32).toString('base64'))
  await write('short', 'c2hvcnQ=')
  const { code, stderr } = await run('config', 'check')
  t.equal(code, 78)
  t.match(stderr, /webhooks\[0\]\.to: .*none\.pem/)
  t.match(
    stderr,
    /webhooks\[1\]\.to: .*expected a key of 24 to 64 bytes in Base64; run openssl rand/,
  )
})
