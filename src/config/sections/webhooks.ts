/** `webhooks`: receivers of notifications about kills, restores, restore requests and refusals. */
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
  "Events to send. kill: everything that stops access, including a dead man's switch that was closed. restore: everything that restores access. restore-request: a restore request that is made, approved, withdrawn or expires. refusal: an instance refuses everything because it cannot know what is in force, or serves again. drill: the kill and the restore of a drill. tripwire: a rule of the tripwire was broken. retirement: a key version is to be destroyed, or was.",
  plain<WebhookEvent>({ type: 'string', enum: WEBHOOK_EVENTS }),
  { minItems: 1, default: ['kill', 'restore', 'restore-request', 'refusal', 'tripwire'] },
)

const generic = object('A POST with a JSON body, signed as Standard Webhooks describes.', {
  url: url('URL to post to. http is allowed for loopback only.'),
  key: secret(
    'The signing key: 24 to 64 bytes in Base64, with or without `whsec_` before it; `openssl rand -base64 32` makes one.',
  ),
  ca: optional(file('PEM bundle of authorities to trust instead of the public ones.')),
})

const slack = object('An incoming webhook of Slack, or of a service that accepts the same body.', {
  url: secret('The URL of the incoming webhook. Anyone who knows it can post.'),
})

const sns = object(
  'An SNS topic. Credentials are those that the AWS SDK finds: from the environment, a profile, or the role of the host or pod.',
  {
    topicArn: text('ARN of the topic. Its region is the one to call.', {
      pattern: '^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(\\.fifo)?$',
      patternErrorMessage:
        'the ARN of an SNS topic, such as arn:aws:sns:eu-west-1:111122223333:kms',
    }),
    endpoint: optional(
      url('URL of the endpoint (default: that of the region), such as one in your VPC.'),
    ),
    ca: optional(file('PEM bundle of authorities to trust instead of the public ones.')),
  },
)

const receivers = list(
  'Receivers of notifications about kills, restores and refusals (docs/webhooks.md). Notifications are sent after the fact and never delay a kill.',
  object('One receiver.', {
    name: text('Name in the log, in metrics and in the store, which records what was sent.', {
      pattern: '^[a-z0-9][a-z0-9-]{0,31}$',
      patternErrorMessage: '1 to 32 lower-case letters, digits and dashes, a letter or digit first',
    }),
    to: oneOf('Kind of the receiver.', {
      generic: optional(generic),
      slack: optional(slack),
      sns: optional(sns),
    }),
    events,
    timeout: duration('How long one attempt may take.', '5s', [100, 20_000]),
    giveUpAfter: duration(
      'Age from which an event is given up, once attempts have failed for a minute. Later events wait until then, because events are sent in order.',
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
