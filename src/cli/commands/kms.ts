/** Implements `latchkey kms`. */
// SPDX-License-Identifier: Apache-2.0
import { partitionOf } from '../../core/partitions.ts'
import { Secret } from '../../core/secret.ts'
import type { KmsCredential } from '../../kms/emulator/api/callers.ts'
import { KMS_TIMEOUT_MS } from '../../kms/emulator/proxy-connection.ts'
import { type Command, type Context, UsageError, stringFlag } from '../../terminal/command.ts'
import { durationFlag } from '../../terminal/flags/time.ts'
import { type KmsService, loadCallers, startKmsService } from '../../tools/kms/service.ts'
import { findTarget } from '../../tools/simulate/target.ts'

/** Example credential from AWS's documentation, valid only in the emulator. */
const EXAMPLE = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}
const DEFAULT_PORT = 4566

export const kms: Command = {
  flags: {
    port: { type: 'string', value: 'PORT', description: 'Port to listen on (default: 4566).' },
    host: {
      type: 'string',
      value: 'ADDRESS',
      description: 'Address to listen on for plain HTTP (default: 127.0.0.1).',
    },
    state: {
      type: 'string',
      value: 'FILE',
      description:
        'File, mode 0600, that keeps key stores, keys and aliases across restarts (default: keep them only in memory).',
    },
    demo: {
      type: 'string',
      value: 'DIR',
      description:
        'Register the proxy of the quickstart demo in this folder, and create the KMS key alias/latchkey-demo.',
    },
    endpoint: {
      type: 'string',
      short: 'e',
      value: 'URL',
      description:
        "Address to use for every proxy, https://host:port (default: each proxy's own host name, port 443).",
    },
    ca: {
      type: 'string',
      value: 'FILE',
      description: 'PEM file of certificate authorities to trust, for a private CA.',
    },
    region: {
      type: 'string',
      value: 'REGION',
      description: 'AWS region to emulate (default: us-east-1).',
    },
    account: {
      type: 'string',
      value: 'ID',
      description: 'AWS account that owns the KMS keys, 12 digits (default: 111122223333).',
    },
    principal: {
      type: 'string',
      value: 'ARN',
      description: "ARN of the calling principal (default: the account's Application role).",
    },
    'via-service': {
      type: 'string',
      value: 'NAME',
      description:
        'AWS service that calls KMS on behalf of the caller, such as s3 (default: none).',
    },
    callers: {
      type: 'string',
      value: 'FILE',
      description:
        "JSON file, mode 0600, that lists callers with accessKeyId, secretAccessKey, principal and viaService (default: one caller, with AWS's example credential).",
    },
    throttle: {
      type: 'string',
      value: 'N',
      description:
        'Maximum number of cryptographic operations per second; further calls are throttled (default: unlimited).',
    },
    timeout: {
      type: 'string',
      value: 'TIME',
      description: 'How long to wait for a response from a proxy (default: 250ms, as in KMS).',
    },
    cloudtrail: {
      type: 'string',
      value: 'FILE',
      description:
        'Append a CloudTrail record of each call to this file, one per line (default: none).',
    },
  },
  examples: [
    'latchkey kms --demo demo --state kms.json',
    'latchkey kms --endpoint https://localhost:8443 --ca demo/pki/ca.crt --cloudtrail trail.json',
    'latchkey kms --callers callers.json --throttle 50 --region eu-central-1',
  ],
  async run(context) {
    const region = parseRegion(context)
    const accountId = parseAccount(context)
    const callers = stringFlag(context, 'callers')
    if (callers !== undefined && (has(context, 'principal') || has(context, 'via-service'))) {
      throw new UsageError(
        'USAGE',
        '--callers cannot be combined with --principal or --via-service',
      )
    }
    const demo = has(context, 'demo') ? await findTarget(context) : undefined
    const service = await startKmsService({
      ...{ host: stringFlag(context, 'host') ?? '127.0.0.1', region, accountId },
      port: wholeNumber(context, 'port', { least: 0, most: 65_535 }) ?? DEFAULT_PORT,
      timeoutMs: durationFlag(context, 'timeout', KMS_TIMEOUT_MS),
      credentials:
        callers === undefined ? [toCaller(context, region, accountId)] : await loadCallers(callers),
      ...named('stateFile', stringFlag(context, 'state')),
      ...named('cloudTrailFile', stringFlag(context, 'cloudtrail')),
      ...named(
        'requestsPerSecond',
        wholeNumber(context, 'throttle', { least: 1, most: 1_000_000 }),
      ),
      ...named('reach', demo === undefined ? parseReach(context) : toReach(demo)),
      ...named('demo', demo),
      onFault: context.output.error,
    })
    const shown = { url: service.url, region, accountId, ...named('demoKey', service.demoKey) }
    context.output.result(
      toText(service, { region, accountId, isExample: callers === undefined }),
      shown,
    )
    await untilSignal()
    await service.close()
  },
}

const has = (context: Context, name: string) => stringFlag(context, name) !== undefined

function named<Name extends string, T>(name: Name, value: T | undefined) {
  return (value === undefined ? {} : { [name]: value }) as Partial<Record<Name, T>>
}

function parseRegion(context: Context): string {
  const region = stringFlag(context, 'region') ?? 'us-east-1'
  if (/^[a-z]{2,}(-[a-z]+)+-\d$/.test(region)) return region
  throw new UsageError('INPUT_INVALID', '--region: expected a region such as eu-central-1')
}

function parseAccount(context: Context): string {
  const account = stringFlag(context, 'account') ?? '111122223333'
  if (/^\d{12}$/.test(account)) return account
  throw new UsageError('INPUT_INVALID', '--account: expected 12 digits')
}

function wholeNumber(
  context: Context,
  name: string,
  { least, most }: { readonly least: number; readonly most: number },
): number | undefined {
  const text = stringFlag(context, name)
  if (text === undefined) return undefined
  const value = /^\d{1,7}$/.test(text) ? Number(text) : NaN
  if (value >= least && value <= most) return value
  const range = `${String(least)} to ${String(most)}`
  throw new UsageError('INPUT_INVALID', `--${name}: expected a whole number from ${range}`)
}

function toCaller(context: Context, region: string, accountId: string): KmsCredential {
  const fallback = `arn:${partitionOf(region).id}:iam::${accountId}:role/Application`
  return {
    accessKeyId: EXAMPLE.accessKeyId,
    secretAccessKey: new Secret(EXAMPLE.secretAccessKey),
    principalArn: stringFlag(context, 'principal') ?? fallback,
    ...named('viaService', stringFlag(context, 'via-service')),
  }
}

function parseReach(context: Context) {
  const text = stringFlag(context, 'endpoint')
  const caFile = stringFlag(context, 'ca')
  const url = text !== undefined && URL.canParse(text) ? new URL(text) : undefined
  if (text !== undefined && (url?.protocol !== 'https:' || url.pathname !== '/')) {
    throw new UsageError('USAGE', '--endpoint: expected https://host:port')
  }
  if (url === undefined && caFile === undefined) return undefined
  const connectTo = url && { host: url.hostname, port: url.port === '' ? 443 : Number(url.port) }
  return { ...named('connectTo', connectTo), ...named('caFile', caFile) }
}

function toReach({ connectTo, caFile }: Awaited<ReturnType<typeof findTarget>>) {
  return { connectTo, ...named('caFile', caFile) }
}

function toText(
  { url, demoKey }: KmsService,
  about: { readonly region: string; readonly accountId: string; readonly isExample: boolean },
): string {
  return [
    `latchkey kms emulates KMS for account ${about.accountId} in ${about.region} at ${url}`,
    '',
    'Run this in the terminal of your application:',
    '',
    `export AWS_ENDPOINT_URL_KMS=${url}`,
    // The AWS CLI and boto3 read only AWS_DEFAULT_REGION.
    `export AWS_REGION=${about.region} AWS_DEFAULT_REGION=${about.region}`,
    ...(about.isExample
      ? [
          `export AWS_ACCESS_KEY_ID=${EXAMPLE.accessKeyId}`,
          `export AWS_SECRET_ACCESS_KEY=${EXAMPLE.secretAccessKey}`,
        ]
      : []),
    ...(demoKey === undefined ? [] : ['', `KMS key  ${demoKey.alias}  ${demoKey.arn}`]),
    '',
    'Press Ctrl-C to stop.',
  ].join('\n')
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve)
  })
}
