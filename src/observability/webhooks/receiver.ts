/** The kinds of receivers: which request each gets, and how it is signed. */
// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import aws4 from 'aws4'
import type { WebhookConfig } from '../../config/config.ts'
import { LatchkeyError } from '../../core/errors.ts'
import type { HttpAnswer } from '../../core/http-exchange.ts'
import { partitionOf } from '../../core/partitions.ts'
import { describe, type Notification } from './event.ts'
import type { OutgoingRequest } from './post.ts'

export type WebhookErrorCode =
  | 'WEBHOOK_KEY_INVALID' // the signing key of a webhook is not 24 to 64 bytes in Base64
  | 'WEBHOOK_URL_INVALID' // the URL of a webhook of Slack is not an https URL
  | 'WEBHOOK_CA_UNREADABLE' // the bundle of authorities of a webhook cannot be read

export class WebhookError extends LatchkeyError<WebhookErrorCode> {
  override readonly name = 'WebhookError'
}

export interface Receiver {
  readonly kind: 'generic' | 'slack' | 'sns'
  /**
   * Returns the request of one attempt.
   * @param now wall time, milliseconds since the Unix epoch
   * @throws an error of the AWS SDK when there are no credentials
   */
  toRequest(notification: Notification, now: number): Promise<OutgoingRequest>
}

/** @throws WebhookError */
export async function createReceiver({ name, to }: WebhookConfig): Promise<Receiver> {
  if (to.generic !== undefined) return createGeneric(name, to.generic)
  if (to.slack !== undefined) return createSlack(name, to.slack)
  if (to.sns !== undefined) return createSns(name, to.sns)
  throw new TypeError(`the webhook ${name} has no kind`)
}

type Kinds = WebhookConfig['to']

/** The body for generic receivers and for subscribers of a topic. */
export function toBody(notification: Notification): string {
  const { id, event, kind, at, data } = notification
  const text = describe(notification)
  const timestamp = new Date(at).toISOString()
  return JSON.stringify({ type: kind, timestamp, id, event, text, data })
}

/** Status codes with which a receiver of your own says that it will never accept this body. */
const FINAL: ReadonlySet<number> = new Set([400, 413, 422])

function isFinalStatus({ status }: HttpAnswer): boolean {
  return FINAL.has(status)
}

const KEY_BYTES = { least: 24, most: 64 }

/** Standard Webhooks 1.0.0: the signature covers id, time and body. */
async function createGeneric(
  name: string,
  { url, key, caFile }: NonNullable<Kinds['generic']>,
): Promise<Receiver> {
  const text = key.reveal().replace(/^whsec_/, '')
  const bytes = Buffer.from(text, 'base64')
  const isBase64 = /^[A-Za-z0-9+/_-]+={0,2}$/.test(text)
  if (!isBase64 || bytes.length < KEY_BYTES.least || bytes.length > KEY_BYTES.most) {
    const message = `the key of the webhook ${name} is not 24 to 64 bytes in Base64`
    const hint = 'openssl rand -base64 32 makes one'
    throw new WebhookError('WEBHOOK_KEY_INVALID', message, { hint })
  }
  const ca = await loadAuthorities(name, caFile)
  return {
    kind: 'generic',
    toRequest(notification, now) {
      const body = toBody(notification)
      const { id } = notification
      const time = String(Math.floor(now / 1000))
      const code = createHmac('sha256', bytes).update(`${id}.${time}.${body}`).digest('base64')
      return Promise.resolve({
        ...{ url: new URL(url), body, ca, isFinal: isFinalStatus },
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': time,
          'webhook-signature': `v1,${code}`,
        },
      })
    },
  }
}

/**
 * Slack and compatible receivers also answer 400 for a URL or a user that they do not know. Only
 * these texts are about the message (docs.slack.dev, Sending messages using incoming webhooks).
 */
const SLACK_FAULTS = /invalid_payload|no_text|too_many_attachments/

function isFinalForSlack({ status, text }: HttpAnswer): boolean {
  return status === 413 || (status === 400 && SLACK_FAULTS.test(text))
}

function createSlack(name: string, { url }: NonNullable<Kinds['slack']>): Receiver {
  const parsed = URL.canParse(url.reveal()) ? new URL(url.reveal()) : undefined
  const isLocal = parsed?.hostname === 'localhost' || parsed?.hostname === '127.0.0.1'
  if (parsed === undefined || (parsed.protocol !== 'https:' && !isLocal)) {
    const message = `the URL of the webhook ${name} is not an https URL`
    throw new WebhookError('WEBHOOK_URL_INVALID', message)
  }
  return {
    kind: 'slack',
    toRequest(notification) {
      const at = new Date(notification.at).toISOString()
      // Escapes & < >, which are control characters in Slack's texts.
      const text = `${describe(notification)}\n${at}, Latchkey, id ${notification.id}`
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
      return Promise.resolve({
        ...{ url: parsed, body: JSON.stringify({ text }), ca: undefined },
        isFinal: isFinalForSlack,
        headers: { 'content-type': 'application/json' },
      })
    },
  }
}

/**
 * SNS, Publish: a subject has up to 99 printable ASCII characters and does not begin with a space.
 */
const MAX_SUBJECT = 99

/**
 * AWS also answers 400 when it throttles, when a request is too old, and when the key of the topic is
 * disabled. Only these codes are about the message (SNS API, Publish and Common Error Types).
 */
const SNS_FAULTS: ReadonlySet<string> = new Set([
  ...['InvalidParameter', 'InvalidParameterValue', 'ParameterValueInvalid'],
  ...['InvalidParameterCombination', 'MissingParameter', 'ValidationError', 'ValidationException'],
])

function isFinalForSns({ status, text }: HttpAnswer): boolean {
  const [, code = ''] = /<Code>\s*([A-Za-z.]{1,100})\s*<\/Code>/.exec(text) ?? []
  return status === 413 || (status === 400 && SNS_FAULTS.has(code))
}

async function createSns(
  name: string,
  { topicArn, endpoint, caFile }: NonNullable<Kinds['sns']>,
): Promise<Receiver> {
  const region = topicArn.split(':')[3] ?? ''
  const url = new URL(endpoint ?? `https://sns.${region}.${partitionOf(region).domain}/`)
  const ca = await loadAuthorities(name, caFile)
  const { defaultProvider } = await import('@aws-sdk/credential-provider-node')
  const credentials = defaultProvider()
  return {
    kind: 'sns',
    async toRequest(notification) {
      const { id, event } = notification
      const subject = `Latchkey: ${describe(notification)}`.replace(/[^\x20-\x7e]/g, '?')
      const fields = {
        Action: 'Publish',
        Version: '2010-03-31',
        TopicArn: topicArn,
        Subject: subject.slice(0, MAX_SUBJECT),
        Message: toBody(notification),
        'MessageAttributes.entry.1.Name': 'event',
        'MessageAttributes.entry.1.Value.DataType': 'String',
        'MessageAttributes.entry.1.Value.StringValue': event,
        // A FIFO topic drops a duplicate by itself, within five minutes.
        ...(topicArn.endsWith('.fifo')
          ? { MessageGroupId: 'latchkey', MessageDeduplicationId: id }
          : {}),
      }
      const body = new URLSearchParams(fields).toString()
      const { accessKeyId, secretAccessKey, sessionToken } = await credentials()
      const { headers } = aws4.sign(
        {
          ...{ service: 'sns', region, method: 'POST', host: url.host },
          path: url.pathname,
          headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
          body,
        },
        {
          ...{ accessKeyId, secretAccessKey },
          ...(sessionToken === undefined ? {} : { sessionToken }),
        },
      )
      const signed = headers as Record<string, string>
      return { url, body, ca, headers: signed, isFinal: isFinalForSns }
    },
  }
}

async function loadAuthorities(
  name: string,
  file: string | undefined,
): Promise<Buffer | undefined> {
  if (file === undefined) return undefined
  try {
    return await readFile(file)
  } catch (cause) {
    const message = `the bundle of authorities of the webhook ${name} cannot be read: ${file}`
    throw new WebhookError('WEBHOOK_CA_UNREADABLE', message, { cause })
  }
}
