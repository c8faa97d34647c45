/** Tests which answers end the attempts to send a message, for each kind of receiver. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { WebhookConfig } from '../../../../src/config/config.ts'
import { Secret } from '../../../../src/core/secret.ts'
import { createReceiver } from '../../../../src/observability/webhooks/receiver.ts'

const SECRET = new Secret(Buffer.alloc(32).toString('base64'))
const about = { id: '1', event: 'kill', kind: 'kill', at: 0, title: 'a kill', data: {} } as const

async function finality(to: WebhookConfig['to']) {
  const receiver = await createReceiver({
    ...{ name: 'a', to, events: ['kill'], timeoutMs: 1000, giveUpAfterMs: 1000 },
  })
  const { isFinal } = await receiver.toRequest(about, 0)
  return (status: number, text = '') => isFinal({ status, text })
}

const error = (code: string) =>
  `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">
  <Error><Type>Sender</Type><Code>${code}</Code><Message>Rate exceeded</Message></Error></ErrorResponse>`

void t.test('SNS: only errors about the message are final', async (t) => {
  process.env['AWS_ACCESS_KEY_ID'] = 'AKIDEXAMPLE'
  process.env['AWS_SECRET_ACCESS_KEY'] = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
  const isFinal = await finality({ sns: { topicArn: 'arn:aws:sns:eu-west-1:111122223333:stops' } })
  for (const code of [
    ...['Throttling', 'ThrottlingException', 'ThrottledException', 'KMSThrottling'],
    ...['RequestExpired', 'IncompleteSignature', 'KMSDisabled', 'KMSAccessDenied', 'Unheard'],
  ])
    t.equal(isFinal(400, error(code)), false, code)
  for (const code of ['InvalidParameter', 'ParameterValueInvalid', 'ValidationError'])
    t.equal(isFinal(400, error(code)), true, code)
  t.equal(isFinal(400, 'Bad Request'), false, 'a proxy in between')
  t.equal(isFinal(403, error('InvalidParameter')), false)
  t.equal(isFinal(413), true)
})

void t.test('Slack: only errors about the message are final', async (t) => {
  const isFinal = await finality({ slack: { url: new Secret('https://hooks.example.com/T0') } })
  t.equal(isFinal(400, 'invalid_payload'), true)
  t.equal(isFinal(400, 'user_not_found'), false)
  t.equal(isFinal(404, 'channel_not_found'), false)
})

void t.test('generic: the status code decides, as documented', async (t) => {
  const isFinal = await finality({ generic: { url: 'https://hooks.example.com/', key: SECRET } })
  for (const status of [400, 413, 422]) t.equal(isFinal(status), true)
  for (const status of [401, 403, 404, 408, 429, 500, 503]) t.equal(isFinal(status), false)
})
