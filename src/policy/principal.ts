/**
 * Parses requestMetadata to find who calls KMS, for which key and through which service, and
 * computes the resulting class of access.
 */
// SPDX-License-Identifier: Apache-2.0
import { isServicePrincipal } from '../core/partitions.ts'
import type { RequestMetadata } from '../core/request.ts'

/**
 * Class of an access. It is computed from the request, because KMS gives no reason;
 * docs/access-justifications.md explains the consequences.
 */
export type AccessClass =
  | 'customer-direct'
  | 'customer-by-service'
  | 'service-itself'
  | 'foreign-account'
  | 'key-administration'
  | 'unknown'

const ADMINISTRATION: ReadonlySet<string> = new Set(['CreateKey', 'DescribeKey'])
const USES: ReadonlySet<string> = new Set([
  ...['Encrypt', 'Decrypt', 'ReEncrypt', 'GenerateDataKey', 'GenerateDataKeyWithoutPlaintext'],
])

/**
 * Never throws, even for malformed metadata. Runs for every request, so it parses only what it
 * needs.
 */
export function accessClassOf(metadata: Partial<RequestMetadata>): AccessClass {
  const { awsPrincipalArn = '', kmsOperation = '', kmsKeyArn, kmsViaService } = metadata
  if (ADMINISTRATION.has(kmsOperation)) return 'key-administration'
  if (!USES.has(kmsOperation)) return 'unknown'
  const kind = kindOf(awsPrincipalArn)
  if (kind === 'service') return 'service-itself'
  if (kind === 'unknown') return 'unknown'
  const account = accountOf(awsPrincipalArn)
  if (account === undefined) return 'unknown'
  if (kmsKeyArn !== undefined && arnField(kmsKeyArn, ACCOUNT_FIELD) !== account) {
    return 'foreign-account'
  }
  return kmsViaService === undefined ? 'customer-direct' : 'customer-by-service'
}

export interface Principal {
  readonly arn: string
  readonly kind:
    'user' | 'role' | 'assumed-role' | 'federated-user' | 'root' | 'service' | 'unknown'
  readonly name: string
  readonly sessionName?: string
  readonly path?: string
  readonly account?: string
  /** ARNs of the roles that the principal is or has assumed. */
  readonly roles: readonly string[]
}

const INTERNAL = 'AWS Internal'
const ACCOUNT = /^\d{12}$/

/** arn:partition:service:region:account:resource */
const PARTITION_FIELD = 1
const SERVICE_FIELD = 2
const REGION_FIELD = 3
const ACCOUNT_FIELD = 4
const RESOURCE_FIELD = 5

/**
 * Returns a field of an ARN; the resource keeps all its colons. Empty if the ARN has too few
 * fields.
 */
function arnField(arn: string, field: number): string {
  let start = 0
  for (let i = 0; i < field; i++) {
    const colon = arn.indexOf(':', start)
    if (colon < 0) return ''
    start = colon + 1
  }
  const end = field === RESOURCE_FIELD ? -1 : arn.indexOf(':', start)
  return end < 0 ? arn.slice(start) : arn.slice(start, end)
}

const IAM_RESOURCE = /^(?:(root)|(user|role)(?:\/[^/]+)+)$/
const STS_RESOURCE = /^(?:(assumed-role)\/[^/]+\/[^/]+|(federated-user)\/[^/]+)$/

function kindOf(arn: string): Principal['kind'] {
  if (!arn.startsWith('arn:')) {
    return arn === INTERNAL || isServicePrincipal(arn) ? 'service' : 'unknown'
  }
  const service = arnField(arn, SERVICE_FIELD)
  const form = service === 'iam' ? IAM_RESOURCE : service === 'sts' ? STS_RESOURCE : undefined
  const match = form?.exec(arnField(arn, RESOURCE_FIELD))
  return ((match?.[1] ?? match?.[2]) as Principal['kind'] | undefined) ?? 'unknown'
}

/** Returns the account of awsPrincipalArn without parsing the rest of the ARN. */
export function accountOf(arn: string): string | undefined {
  const account = arn.startsWith('arn:') ? arnField(arn, ACCOUNT_FIELD) : ''
  return ACCOUNT.test(account) ? account : undefined
}

/** Parses awsPrincipalArn. An ARN in an unknown format yields the kind `unknown`. */
export function parsePrincipal(arn: string): Principal {
  const kind = kindOf(arn)
  const id = accountOf(arn)
  const account = id === undefined ? {} : { account: id }
  const names = arnField(arn, RESOURCE_FIELD).split('/').slice(1)
  const last = names.at(-1) ?? ''
  const roleOf = (text: string) =>
    `arn:${arnField(arn, PARTITION_FIELD)}:iam::${id ?? ''}:role/${text}`
  switch (kind) {
    case 'root':
      return { arn, kind, name: 'root', roles: [], ...account }
    case 'user':
    case 'role': {
      const path = `/${names
        .slice(0, -1)
        .map((part) => `${part}/`)
        .join('')}`
      const roles = kind === 'user' ? [] : [...new Set([arn, roleOf(last)])]
      return { arn, kind, name: last, path, roles, ...account }
    }
    case 'assumed-role': {
      const [role = ''] = names
      return { arn, kind, name: role, sessionName: last, roles: [roleOf(role)], ...account }
    }
    case 'federated-user':
      return { arn, kind, name: last, roles: [], ...account }
    case 'service':
    case 'unknown':
      return { arn, kind, name: arn, roles: [], ...account }
  }
}

export interface KmsKey {
  readonly arn: string
  readonly partition: string
  readonly region: string
  readonly account: string
  readonly keyId: string
}

/** Tolerates a slash in front of `key/`: AWS's test client sends one. */
export function parseKmsKey(arn: string): KmsKey {
  return {
    arn,
    partition: arnField(arn, PARTITION_FIELD),
    region: arnField(arn, REGION_FIELD),
    account: arnField(arn, ACCOUNT_FIELD),
    keyId: arnField(arn, RESOURCE_FIELD).replace(/^\/?key\//, ''),
  }
}

export interface ViaService {
  readonly name: string
  readonly region?: string
}

/** Accepts `ebs`, or `ebs.eu-west-1.amazonaws.com` as in the condition key kms:ViaService. */
export function parseViaService(text: string): ViaService {
  const [name = '', region, ...rest] = text.toLowerCase().split('.')
  return rest.length >= 2 && region !== undefined ? { name, region } : { name }
}

/** Returns an entity as a single string. */
export function toUidText(type: string, id: string): string {
  return `${type} ${id}`
}

/** Returns the principal and everything that contains it. */
export function uidsOf({ arn, account, roles, kind, name }: Principal): ReadonlySet<string> {
  return new Set([
    toUidText('XKS::Principal', arn),
    ...(account === undefined ? [] : [toUidText('XKS::Account', account)]),
    ...roles.map((role) => toUidText('XKS::Role', role)),
    ...(kind === 'service' ? [toUidText('XKS::AwsService', name)] : []),
  ])
}
