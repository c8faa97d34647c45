/**
 * Builds the requests for each kind of receiver, and signs them in the way that the receiver
 * expects.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import aws4 from 'aws4'
import type { WebhookConfig } from '../../config/config.ts'
import { type AwsTimeouts, toRequestHandler } from '../../core/aws-http.ts'
import { raceSignal } from '../../core/deadline.ts'
import { LatchkeyError } from '../../core/errors.ts'
import type { HttpAnswer } from '../../core/http-exchange.ts'
import { partitionOf } from '../../core/partitions.ts'
import { createHttpsAgent, type Proxy } from '../../core/proxy.ts'
import { describe, type Notification } from './event.ts'
import { type OutgoingRequest, post, type PostOutcome } from './post.ts'

export type WebhookErrorCode =
  | 'WEBHOOK_KEY_INVALID' // a webhook's signing key is not 24 to 64 bytes in Base64
  | 'WEBHOOK_URL_INVALID' // a Slack webhook's URL is not an https URL
  | 'WEBHOOK_CA_UNREADABLE' // a webhook's CA bundle cannot be read

export class WebhookError extends LatchkeyError<WebhookErrorCode> {
  override readonly name = 'WebhookError'
}

export interface Receiver {
  readonly kind: 'generic' | 'slack' | 'sns'
  /**
   * Returns the request for one attempt.
   * @param attempt `now` is the wall time in milliseconds since the Unix epoch; `signal` sets the
   * attempt's deadline
   * @throws an AWS SDK error if there are no credentials, DeadlineExceeded if they come too late
   */
  toRequest(notification: Notification, attempt: Attempt): Promise<OutgoingRequest>
}

export interface Attempt {
  readonly now: number
  readonly signal: AbortSignal
}

/** Makes one attempt to deliver a message. Never rejects, and ends when the signal aborts. */
export async function deliver(
  receiver: Receiver,
  notification: Notification,
  attempt: Attempt,
): Promise<PostOutcome> {
  const { signal } = attempt
  let request
  try {
    // The file share or service that provides files and credentials may hang.
    request = await raceSignal(receiver.toRequest(notification, attempt), signal)
  } catch (error) {
    const reason = signal.aborted
      ? "the receiver's credentials and certificate authorities could not be read in time"
      : error instanceof Error
        ? error.message
        : String(error)
    return { result: 'failed', reason, isFinal: false }
  }
  return post(request, signal)
}

/**
 * @param proxy the proxy for HTTPS requests
 * @param timeouts limits for calls that obtain credentials from AWS
 * @throws WebhookError
 */
export async function createReceiver(
  { name, to }: WebhookConfig,
  proxy?: Proxy,
  timeouts: AwsTimeouts = CREDENTIAL_TIMEOUTS,
): Promise<Receiver> {
  if (to.generic !== undefined) return createGeneric(name, to.generic, proxy)
  if (to.slack !== undefined) return createSlack(name, to.slack, proxy)
  if (to.sns !== undefined) return createSns(name, to.sns, { proxy, timeouts })
  throw new TypeError(`the webhook ${name}: expected generic, slack or sns`)
}

type Kinds = WebhookConfig['to']

/** Returns the body for generic receivers and for subscribers to a topic. */
export function toBody(notification: Notification): string {
  const { id, event, kind, at, data } = notification
  const text = describe(notification)
  const timestamp = new Date(at).toISOString()
  return JSON.stringify({ type: kind, timestamp, id, event, text, data })
}

/** Status codes with which a generic receiver states that it will never accept this body. */
const FINAL: ReadonlySet<number> = new Set([400, 413, 422])

function isFinalStatus({ status }: HttpAnswer): boolean {
  return FINAL.has(status)
}

const KEY_BYTES = { least: 24, most: 64 }

/** The signature covers id, time and body (Standard Webhooks 1.0.0). */
async function createGeneric(
  name: string,
  { url, key, caFile }: NonNullable<Kinds['generic']>,
  proxy: Proxy | undefined,
): Promise<Receiver> {
  const text = key.reveal().replace(/^whsec_/, '')
  const bytes = Buffer.from(text, 'base64')
  const isBase64 = /^[A-Za-z0-9+/_-]+={0,2}$/.test(text)
  if (!isBase64 || bytes.length < KEY_BYTES.least || bytes.length > KEY_BYTES.most) {
    const message = `the webhook ${name}: expected a key of 24 to 64 bytes in Base64`
    const hint = 'run openssl rand -base64 32 to generate a key'
    throw new WebhookError('WEBHOOK_KEY_INVALID', message, { hint })
  }
  await loadAuthorities(name, caFile)
  return {
    kind: 'generic',
    async toRequest(notification, { now }) {
      const body = toBody(notification)
      const { id } = notification
      const time = String(Math.floor(now / 1000))
      const code = createHmac('sha256', bytes).update(`${id}.${time}.${body}`).digest('base64')
      return {
        ...{ url: new URL(url), body, proxy, isFinal: isFinalStatus },
        ca: await loadAuthorities(name, caFile),
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': time,
          'webhook-signature': `v1,${code}`,
        },
      }
    },
  }
}

/**
 * Slack and compatible receivers also return 400 for an unknown URL or user. Only these bodies
 * concern the message (docs.slack.dev, Sending messages using incoming webhooks).
 */
const SLACK_FAULTS = /invalid_payload|no_text|too_many_attachments/

function isFinalForSlack({ status, text }: HttpAnswer): boolean {
  return status === 413 || (status === 400 && SLACK_FAULTS.test(text))
}

function createSlack(
  name: string,
  { url }: NonNullable<Kinds['slack']>,
  proxy: Proxy | undefined,
): Receiver {
  const parsed = URL.canParse(url.reveal()) ? new URL(url.reveal()) : undefined
  const isLocal = parsed?.hostname === 'localhost' || parsed?.hostname === '127.0.0.1'
  if (parsed === undefined || (parsed.protocol !== 'https:' && !isLocal)) {
    const message = `the webhook ${name}: expected an https URL`
    throw new WebhookError('WEBHOOK_URL_INVALID', message)
  }
  return {
    kind: 'slack',
    toRequest(notification) {
      const at = new Date(notification.at).toISOString()
      // Escapes & < >, which are control characters in Slack's message format.
      const text = `${describe(notification)}\n${at}, Latchkey, id ${notification.id}`
        .replaceAll('&', '&amp;')
        .replaceAll('<', '&lt;')
        .replaceAll('>', '&gt;')
      return Promise.resolve({
        ...{ url: parsed, body: JSON.stringify({ text }), ca: undefined, proxy },
        isFinal: isFinalForSlack,
        headers: { 'content-type': 'application/json' },
      })
    },
  }
}

/**
 * A subject has up to 99 printable ASCII characters and does not begin with a space (SNS, Publish).
 */
const MAX_SUBJECT = 99

const CREDENTIAL_TIMEOUTS: AwsTimeouts = { connectMs: 5000, requestMs: 20_000 }

/**
 * AWS also returns 400 when it throttles, when a request has expired, and when the topic's key is
 * disabled. Only these codes concern the message (SNS API, Publish and Common Error Types).
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
  { proxy, timeouts }: { readonly proxy: Proxy | undefined; readonly timeouts: AwsTimeouts },
): Promise<Receiver> {
  const region = topicArn.split(':')[3] ?? ''
  const url = new URL(endpoint ?? `https://sns.${region}.${partitionOf(region).domain}/`)
  await loadAuthorities(name, caFile)
  const { defaultProvider } = await import('@aws-sdk/credential-provider-node')
  // AWS may also supply the credentials, such as the credentials of a role.
  const requestHandler = toRequestHandler(createHttpsAgent(proxy, { keepAlive: true }), timeouts)
  const createProvider = () => defaultProvider({ clientConfig: { requestHandler } })
  let provider = createProvider()
  const findCredentials = async (signal: AbortSignal) => {
    try {
      return await raceSignal(provider(), signal)
    } catch (error) {
      // A provider shares the call in flight, so a call that hangs would make all later calls hang.
      if (signal.aborted) provider = createProvider()
      throw error
    }
  }
  return {
    kind: 'sns',
    async toRequest(notification, { signal }) {
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
        // A FIFO topic discards duplicates itself if they arrive within five minutes.
        ...(topicArn.endsWith('.fifo')
          ? { MessageGroupId: 'latchkey', MessageDeduplicationId: id }
          : {}),
      }
      const body = new URLSearchParams(fields).toString()
      const { accessKeyId, secretAccessKey, sessionToken } = await findCredentials(signal)
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
      const ca = await loadAuthorities(name, caFile)
      return { url, body, ca, proxy, headers: signed, isFinal: isFinalForSns }
    },
  }
}

/** Reads the file for each message, so that a renewed bundle needs no restart. @throws WebhookError */
async function loadAuthorities(
  name: string,
  file: string | undefined,
): Promise<Buffer | undefined> {
  if (file === undefined) return undefined
  try {
    return await readFile(file)
  } catch (cause) {
    const message = `cannot read the certificate authorities of the webhook ${name}: ${file}`
    throw new WebhookError('WEBHOOK_CA_UNREADABLE', message, { cause })
  }
}
