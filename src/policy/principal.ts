/**
 * Parses the parts of requestMetadata: who asks KMS, for which key and through what, and the
 * resulting class of access.
 */
// SPDX-License-Identifier: Apache-2.0
import { isServicePrincipal } from '../core/partitions.ts'
import type { RequestMetadata } from '../core/request.ts'

/**
 * Computed from the caller and the path. KMS gives no reason; docs/access-justifications.md says
 * what follows from that.
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

/** Never throws, whatever KMS sends. */
export function accessClassOf(metadata: Partial<RequestMetadata>): AccessClass {
  return toAccessClass(metadata, parsePrincipal(metadata.awsPrincipalArn ?? ''))
}

export function toAccessClass(
  metadata: Partial<RequestMetadata>,
  principal: Principal,
): AccessClass {
  const { kmsOperation = '', kmsKeyArn, kmsViaService } = metadata
  if (ADMINISTRATION.has(kmsOperation)) return 'key-administration'
  if (!USES.has(kmsOperation)) return 'unknown'
  if (principal.kind === 'service') return 'service-itself'
  if (principal.kind === 'unknown' || principal.account === undefined) return 'unknown'
  const owner = kmsKeyArn === undefined ? undefined : parseKmsKey(kmsKeyArn).account
  if (owner !== undefined && owner !== principal.account) return 'foreign-account'
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
  /** ARNs of the roles that it is, or is a session of. */
  readonly roles: readonly string[]
}

const INTERNAL = 'AWS Internal'
const ACCOUNT = /^\d{12}$/

/** Parses awsPrincipalArn. An unknown form yields the kind `unknown`. */
export function parsePrincipal(arn: string): Principal {
  if (!arn.startsWith('arn:')) {
    const isService = arn === INTERNAL || isServicePrincipal(arn)
    return { arn, kind: isService ? 'service' : 'unknown', name: arn, roles: [] }
  }
  const [, partition = '', service = '', , id = '', ...rest] = arn.split(':')
  const account = ACCOUNT.test(id) ? { account: id } : {}
  const unknown: Principal = { arn, kind: 'unknown', name: arn, roles: [], ...account }
  const resource = rest.join(':')
  if (service === 'iam' && resource === 'root') {
    return { arn, kind: 'root', name: 'root', roles: [], ...account }
  }
  const [type = '', ...names] = resource.split('/')
  const name = names.at(-1) ?? ''
  if (name === '' || names.includes('')) return unknown
  const roleOf = (text: string) => `arn:${partition}:iam::${id}:role/${text}`
  if (service === 'iam' && (type === 'user' || type === 'role')) {
    const path = `/${names
      .slice(0, -1)
      .map((part) => `${part}/`)
      .join('')}`
    const roles = type === 'user' ? [] : [...new Set([arn, roleOf(name)])]
    return { arn, kind: type, name, path, roles, ...account }
  }
  if (service === 'sts' && type === 'assumed-role' && names.length === 2) {
    const [role = '', sessionName = ''] = names
    return { arn, kind: type, name: role, sessionName, roles: [roleOf(role)], ...account }
  }
  if (service === 'sts' && type === 'federated-user' && names.length === 1) {
    return { arn, kind: type, name, roles: [], ...account }
  }
  return unknown
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
  const [, partition = '', , region = '', account = '', ...rest] = arn.split(':')
  return { arn, partition, region, account, keyId: rest.join(':').replace(/^\/?key\//, '') }
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

/** Returns an entity as one text. */
export function toUidText(type: string, id: string): string {
  return `${type} ${id}`
}

/** Returns the principal and everything that it is in. */
export function uidsOf({ arn, account, roles, kind, name }: Principal): ReadonlySet<string> {
  return new Set([
    toUidText('XKS::Principal', arn),
    ...(account === undefined ? [] : [toUidText('XKS::Account', account)]),
    ...roles.map((role) => toUidText('XKS::Role', role)),
    ...(kind === 'service' ? [toUidText('XKS::AwsService', name)] : []),
  ])
}
