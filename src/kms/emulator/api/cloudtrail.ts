/** The record that CloudTrail writes for a KMS call. It never contains plaintext or ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { constants, open } from 'node:fs/promises'
import type { KmsCredential } from './callers.ts'
import type { Json } from './json.ts'

export interface KmsCallRecord {
  readonly operation: string
  readonly input: Json
  readonly caller: KmsCredential | undefined
  readonly requestId: string
  /** Milliseconds since the Unix epoch. */
  readonly at: number
  readonly region: string
  readonly accountId: string
  readonly remoteAddress: string
  readonly userAgent: string
  /** ARNs of the KMS keys involved. */
  readonly keyArns: readonly string[]
  readonly error?: { readonly code: string; readonly message: string }
}

export interface CloudTrail {
  append(call: KmsCallRecord): Promise<void>
  close(): Promise<void>
}

/**
 * Appends one record per line, and creates the file if it is missing. Never follows a symbolic
 * link.
 */
export async function openCloudTrail(path: string): Promise<CloudTrail> {
  const { O_WRONLY, O_APPEND, O_NOFOLLOW } = constants
  const file = await open(path, 'wx', 0o600).catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    return open(path, O_WRONLY | O_APPEND | O_NOFOLLOW)
  })
  return {
    append: async (call) => {
      await file.write(`${JSON.stringify(toCloudTrailRecord(call))}\n`)
    },
    close: () => file.close(),
  }
}

/** CloudTrail omits secrets and large values. */
const LEFT_OUT = new Set([
  ...['Plaintext', 'CiphertextBlob', 'GrantTokens', 'GrantToken', 'DryRun'],
  'XksProxyAuthenticationCredential',
])
const READS = /^(Describe|List|Get|Encrypt|Decrypt|GenerateDataKey|GenerateRandom|ReEncrypt)/

function toCloudTrailRecord(call: KmsCallRecord): Json {
  const { operation, input, caller, at, region, accountId, keyArns, error } = call
  const parameters = Object.entries(input).filter(([name]) => !LEFT_OUT.has(name))
  return {
    eventVersion: '1.11',
    userIdentity: caller === undefined ? { type: 'Unknown' } : toIdentity(caller),
    eventTime: new Date(at).toISOString().replace(/\.\d{3}Z$/, 'Z'),
    eventSource: 'kms.amazonaws.com',
    eventName: operation,
    awsRegion: region,
    sourceIPAddress: toService(caller) ?? call.remoteAddress,
    userAgent: toService(caller) ?? call.userAgent,
    ...(error && { errorCode: error.code, errorMessage: error.message }),
    requestParameters:
      parameters.length === 0
        ? null
        : Object.fromEntries(parameters.map(([name, value]) => [toLowerCamel(name), value])),
    responseElements: null,
    requestID: call.requestId,
    eventID: randomUUID(),
    readOnly: READS.test(operation),
    resources: keyArns.map((ARN) => ({ accountId, type: 'AWS::KMS::Key', ARN })),
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: accountId,
    eventCategory: 'Management',
    ...(caller?.sourceVpce && { vpcEndpointId: caller.sourceVpce }),
  }
}

function toIdentity(caller: KmsCredential): Json {
  const { principalArn, accessKeyId } = caller
  const [, , service, , accountId, resource = ''] = principalArn.split(':')
  const [kind, name = ''] = resource.split('/')
  const types: Readonly<Record<string, string>> = { user: 'IAMUser', 'assumed-role': 'AssumedRole' }
  const type = kind === 'root' ? 'Root' : types[kind ?? '']
  const invokedBy = toService(caller)
  if (service !== 'iam' && service !== 'sts') return { type: 'AWSService', invokedBy: principalArn }
  return {
    ...{ type: type ?? 'Role', principalId: accessKeyId, arn: principalArn, accountId },
    ...{ accessKeyId, ...(type === 'IAMUser' && { userName: name }) },
    ...(invokedBy && { invokedBy }),
  }
}

function toService(caller: KmsCredential | undefined): string | undefined {
  return caller?.viaService === undefined ? undefined : `${caller.viaService}.amazonaws.com`
}

/** CloudTrail writes `KeyId` as `keyId`. */
function toLowerCamel(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1)
}
