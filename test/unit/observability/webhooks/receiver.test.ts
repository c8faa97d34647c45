/** Tests which responses stop delivery retries, for each kind of receiver. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { WebhookConfig } from '../../../../src/config/config.ts'
import { Secret } from '../../../../src/core/secret.ts'
import {
  createReceiver,
  deliver,
  type Receiver,
} from '../../../../src/observability/webhooks/receiver.ts'
import { startReceiver } from '../../../support/receiver.ts'

const SECRET = new Secret(Buffer.alloc(32).toString('base64'))
const about = { id: '1', event: 'kill', kind: 'kill', at: 0, title: 'a kill', data: {} } as const

async function finality(to: WebhookConfig['to']) {
  const receiver = await createReceiver({
    ...{ name: 'a', to, events: ['kill'], timeoutMs: 1000, giveUpAfterMs: 1000 },
  })
  const { isFinal } = await receiver.toRequest(about, {
    now: 0,
    signal: new AbortController().signal,
  })
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

const NEVER = new AbortController().signal

/** Returns a signal that aborts after `ms`. AbortSignal.timeout would not keep the test's process running. */
function after(ms: number): AbortSignal {
  const controller = new AbortController()
  setTimeout(() => {
    controller.abort()
  }, ms)
  return controller.signal
}

/** Starts a server that accepts connections and never responds. */
async function listenSilently(t: Test): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => sockets.add(socket.on('error', () => undefined)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
}

/** Replaces the AWS settings in the environment until the test ends. */
function setAws(t: Test, values: Readonly<Record<string, string>>): void {
  const before = { ...process.env }
  t.teardown(() => {
    process.env = before
  })
  const others = Object.entries(before).filter(([name]) => !/^AWS_|_proxy$/i.test(name))
  process.env = { ...Object.fromEntries(others), HOME: '/nonexistent', ...values }
}

const SNS = { sns: { topicArn: 'arn:aws:sns:eu-west-1:111122223333:stops' } } as const
const CONFIG: Omit<WebhookConfig, 'to'> = {
  ...{ name: 'a', events: ['kill'], timeoutMs: 1000, giveUpAfterMs: 1000 },
}

void t.test('a credential service that never answers ends the attempt', async (t) => {
  const url = await listenSilently(t)
  const token = t.testdir({ token: 'not-a-token' })
  setAws(t, {
    ...{ AWS_ENDPOINT_URL_STS: url, AWS_REGION: 'eu-west-1', AWS_MAX_ATTEMPTS: '1' },
    AWS_WEB_IDENTITY_TOKEN_FILE: `${token}/token`,
    AWS_ROLE_ARN: 'arn:aws:iam::111122223333:role/latchkey',
  })
  const timeouts = { connectMs: 5000, requestMs: 100 }
  const receiver = await createReceiver({ ...CONFIG, to: SNS }, undefined, timeouts)
  const outcome = await deliver(receiver, about, { now: 0, signal: NEVER })
  t.match(outcome, { result: 'failed', isFinal: false })
})

void t.test('credentials that never come end with the attempt, not with the next', async (t) => {
  const answers = await startReceiver(t, { isPlain: true })
  // The credential process exits when the folder is removed after the test.
  const folder = t.testdir({ waiting: '', config: '' })
  const wait = `sh -c "while [ -e '${folder}/waiting' ]; do sleep 0.1; done"`
  await writeFile(`${folder}/credentials`, `[default]\ncredential_process = ${wait}\n`)
  const files = {
    AWS_SHARED_CREDENTIALS_FILE: `${folder}/credentials`,
    AWS_CONFIG_FILE: `${folder}/config`,
  }
  setAws(t, { ...files, AWS_PROFILE: 'default' })
  const to = { sns: { ...SNS.sns, endpoint: answers.url } }
  const receiver = await createReceiver({ ...CONFIG, to })
  const outcome = await deliver(receiver, about, { now: 0, signal: after(300) })
  t.match(outcome, { result: 'failed', reason: /could not be read in time/, isFinal: false })
  setAws(t, { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' })
  t.same(await deliver(receiver, about, { now: 0, signal: NEVER }), { result: 'delivered' })
})

void t.test('any receiver that prepares its request for ever ends with the attempt', async (t) => {
  const hanging: Receiver = { kind: 'generic', toRequest: () => new Promise(() => undefined) }
  const outcome = await deliver(hanging, about, { now: 0, signal: after(50) })
  t.match(outcome, { result: 'failed', isFinal: false })
})
