/**
 * Defines the section `webhooks`: receivers of notifications about kills, restores, restore
 * requests and refusals.
 */
// SPDX-License-Identifier: Apache-2.0
import { toMilliseconds } from '../../core/duration.ts'
import { list, object, oneOf, optional, plain } from '../setting.ts'
import { duration, file, secret, text, webAddress } from '../settings.ts'

/** Groups of events that a webhook can select. */
export const WEBHOOK_EVENTS = [
  'kill',
  'restore',
  'restore-request',
  'refusal',
  'drill',
  'tripwire',
  'retirement',
] as const
export type WebhookEvent = (typeof WEBHOOK_EVENTS)[number]

const URL_FORM = {
  pattern: '^https?://[^ ]+$',
  patternErrorMessage: 'a URL such as https://hooks.example.com/latchkey',
}

const url = (description: string) => webAddress(description, URL_FORM)

const events = list(
  "Events to send. kill: anything that stops access, including a dead man's switch that was closed. restore: anything that restores access. restore-request: a restore request was made, approved or withdrawn, or has expired. refusal: an instance refuses all requests because it cannot tell which switches are in force, or it serves requests again. drill: the kill and the restore of a drill. tripwire: a tripwire rule was broken. retirement: a key version was scheduled for destruction, or was destroyed.",
  plain<WebhookEvent>({ type: 'string', enum: WEBHOOK_EVENTS }),
  { minItems: 1, default: ['kill', 'restore', 'restore-request', 'refusal', 'tripwire'] },
)

const generic = object(
  'HTTP endpoint that receives a POST request with a JSON body, signed according to Standard Webhooks.',
  {
    url: url('URL to send the request to. It must be an https URL, except on loopback.'),
    key: secret(
      'Signing key: 24 to 64 bytes in Base64, with or without the prefix `whsec_`. `openssl rand -base64 32` generates one.',
    ),
    ca: optional(file('PEM bundle of authorities to trust instead of the public authorities.')),
  },
)

const slack = object(
  'Incoming webhook of Slack, or of a service that accepts the same request body.',
  {
    url: secret(
      'URL of the incoming webhook. Treat it as a secret: anyone who knows it can post messages.',
    ),
  },
)

const sns = object(
  'Amazon SNS topic. Latchkey uses the credentials that the AWS SDK finds in the environment, in a profile, or through the role of the host or pod.',
  {
    topicArn: text('ARN of the topic. Latchkey calls SNS in the region that the ARN names.', {
      pattern: '^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\\.fifo)?$',
      patternErrorMessage:
        'the ARN of an SNS topic, such as arn:aws:sns:eu-west-1:111122223333:kms',
    }),
    endpoint: optional(
      url(
        "URL of the SNS endpoint, such as a VPC endpoint (default: the region's public endpoint).",
      ),
    ),
    ca: optional(file('PEM bundle of authorities to trust instead of the public authorities.')),
  },
)

const receivers = list(
  'Receivers of notifications about kills, restores, refusals and other events (docs/webhooks.md). Notifications are sent after the event and never delay a kill.',
  object('One receiver.', {
    name: text(
      'Name of the receiver in the log, in metrics, and in the store, which records the events that were sent to it.',
      {
        pattern: '^[a-z0-9][a-z0-9-]{0,31}$',
        patternErrorMessage:
          '1 to 32 lower-case letters, digits and hyphens, starting with a letter or digit',
      },
    ),
    to: oneOf('Receiver type.', {
      generic: optional(generic),
      slack: optional(slack),
      sns: optional(sns),
    }),
    events,
    timeout: duration('Time limit for one delivery attempt.', '5s', [100, 20_000]),
    giveUpAfter: duration(
      'Age at which Latchkey drops an event that it could not deliver, provided that attempts have failed for at least a minute. Events are sent in order, so later events wait until then.',
      '24h',
      [1000, 604_800_000],
    ),
  }),
  { default: [], maxItems: 16 },
)

export const webhooks: typeof receivers = {
  ...receivers,
  visit(raw, path, visitor) {
    receivers.visit(raw, path, visitor)
    raw.forEach(({ name, timeout, giveUpAfter }, i) => {
      const own = `${path}[${String(i)}]`
      const first = raw.findIndex((other) => other.name === name)
      if (first < i)
        visitor.fault(`${own}.name`, `is already used by ${path}[${String(first)}]: ${name}`)
      if (toMilliseconds(timeout) > toMilliseconds(giveUpAfter))
        visitor.fault(`${own}.timeout`, `expected at most ${giveUpAfter}, found ${timeout}`)
    })
  },
}
