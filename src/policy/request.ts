/**
 * Represents a request as policies see it: entities and context, built from KMS's metadata and the
 * proxy's own data.
 */
// SPDX-License-Identifier: Apache-2.0
import { isIP } from 'node:net'
import type { EvaluationRequest } from './cedar.ts'
import type { Labels } from './labels.ts'
import { ACTIONS, type Facts, type PolicyRequest } from './facts.ts'
import { accessClassOf } from './principal.ts'

type Value = EvaluationRequest['context'][string]

interface Field {
  /** Returns undefined for an optional field that the request lacks. */
  readonly of: (facts: Facts) => Value | undefined
  /** Whether the value differs for each request. Decisions that depend on it are not cached. */
  readonly isVolatile?: true
  /** Whether recorded usage lacks this field. */
  readonly isUnrecorded?: true
}

const datetime = (time: number) => extension('datetime', new Date(time).toISOString())
const extension = (fn: string, arg: string) => ({ __extn: { fn, arg } })
const unrecorded = { isUnrecorded: true } as const
const volatile = { isVolatile: true, ...unrecorded } as const

/** Maps the path of each context field to the definition of the field. */
const CONTEXT: Readonly<Record<string, Field>> = {
  'context.accessClass': {
    of: ({ request }) => accessClassOf(request.metadata),
  },
  'context.kmsOperation': { of: ({ request }) => request.metadata.kmsOperation ?? '' },
  'context.kmsKey.arn': { of: ({ kmsKey }) => kmsKey?.arn },
  'context.kmsKey.partition': { of: ({ kmsKey }) => kmsKey?.partition },
  'context.kmsKey.region': { of: ({ kmsKey }) => kmsKey?.region },
  'context.kmsKey.account': { of: ({ kmsKey }) => kmsKey?.account },
  'context.kmsKey.keyId': { of: ({ kmsKey }) => kmsKey?.keyId },
  'context.viaService.name': { of: ({ viaService }) => viaService?.name },
  'context.viaService.region': { of: ({ viaService }) => viaService?.region },
  'context.sourceVpc': { of: ({ request }) => request.metadata.awsSourceVpc },
  'context.sourceVpce': { of: ({ request }) => request.metadata.awsSourceVpce },
  'context.sameAccount': {
    of: ({ account, kmsKey }) => account !== undefined && account === kmsKey?.account,
  },
  'context.credential.id': { of: ({ request }) => request.credential.id, ...unrecorded },
  'context.credential.age': {
    of: ({ request: { now, credential } }) =>
      credential.createdAt === undefined
        ? undefined
        : extension('duration', `${String(Math.max(0, Math.floor(now - credential.createdAt)))}ms`),
    ...volatile,
  },
  'context.tls.version': { of: ({ request }) => request.tlsVersion, ...unrecorded },
  'context.tls.clientName': { of: ({ request }) => request.clientName, ...unrecorded },
  'context.tls.remote': { of: ({ request }) => toIp(request.remoteAddress), ...volatile },
  'context.now': { of: ({ request }) => datetime(request.now), ...volatile },
  'context.aad.present': { of: ({ request }) => request.aadBytes > 0, ...unrecorded },
  'context.aad.bytes': { of: ({ request }) => request.aadBytes, ...volatile },
  'context.plaintextBytes': { of: ({ request }) => request.plaintextBytes, ...volatile },
}

/** Cedar supports neither IPv4-mapped IPv6 addresses nor zones. */
function toIp(address: string): Value | undefined {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '')
  return isIP(plain) === 0 ? undefined : extension('ip', plain)
}

/** Records that may be absent as a whole; the presence of each counts as a field. */
const RECORDS: Readonly<Record<string, (facts: Facts) => boolean>> = {
  'context.kmsKey': ({ kmsKey }) => kmsKey !== undefined,
  'context.viaService': ({ viaService }) => viaService !== undefined,
}

const PRINCIPAL: Readonly<Record<string, (facts: Facts) => string | undefined>> = {
  'principal.arn': ({ arn }) => arn,
  'principal.kind': ({ principal }) => principal.kind,
  'principal.name': ({ principal }) => principal.name,
  'principal.sessionName': ({ principal }) => principal.sessionName,
  'principal.path': ({ principal }) => principal.path,
  // Parents of the principal's entity.
  'principal.account': ({ account }) => account,
  'principal.roles': ({ principal }) => principal.roles.join(' '),
  'principal.service': ({ principal: { kind, name } }) => (kind === 'service' ? name : undefined),
}

const OTHERS: Readonly<Record<string, (facts: Facts) => string | undefined>> = {
  // Identities of the principal, the action and the resource.
  principal: ({ arn }) => arn,
  action: ({ request }) => ACTIONS[request.operation],
  resource: ({ request }) => `${request.keyStore}/${request.keyId}`,
  'principal.tags': ({ tags }) => JSON.stringify(tags),
  'resource.version': ({ request }) => String(request.keyVersion),
  'resource.createdAt': ({ request: { keyCreatedAt } }) =>
    keyCreatedAt === undefined ? undefined : String(keyCreatedAt),
}

/** Every field that a policy can read. */
export const FIELDS: ReadonlySet<string> = new Set(
  [CONTEXT, RECORDS, PRINCIPAL, OTHERS].flatMap((table) => Object.keys(table)),
)

export const isVolatile = (field: string) => CONTEXT[field]?.isVolatile === true

/**
 * Reports whether recorded usage has a field. Policies that read an unrecorded field cannot be
 * simulated exactly.
 */
export function isRecorded(field: string): boolean {
  if (field === 'principal.tags' || field.startsWith('resource.')) return false
  return CONTEXT[field]?.isUnrecorded !== true
}

/** Returns the value of one field as text; undefined if the request lacks it. */
type FieldReader = (facts: Facts) => string | undefined

/**
 * Returns a function that maps two requests to the same key if and only if they agree in all of
 * `fields`.
 * @param fields must not include volatile fields
 */
export function createCacheKey(fields: readonly string[]): (facts: Facts) => string {
  const readers = fields.map((field) => ({ field, read: readerOf(field) }))
  return (facts) => {
    let key = ''
    for (const { field, read } of readers) {
      const value = read(facts)
      // The key includes lengths, because values may contain any character.
      if (value !== undefined) key += `${String(value.length)}:${value}`
      else key += isInRecord(facts, field) ? '+' : '-'
    }
    return key
  }
}

function readerOf(field: string): FieldReader {
  const plain = PRINCIPAL[field] ?? OTHERS[field]
  if (plain !== undefined) return plain
  const isThere = RECORDS[field]
  if (isThere !== undefined) return (facts) => (isThere(facts) ? '1' : '0')
  return (facts) => {
    const value = CONTEXT[field]?.of(facts)
    return value === undefined || typeof value === 'string' ? value : JSON.stringify(value)
  }
}

/** Reports whether the record that holds a field of the context is present. */
function isInRecord(facts: Facts, field: string): boolean {
  return RECORDS[field.slice(0, field.lastIndexOf('.'))]?.(facts) ?? true
}

type Entity = EvaluationRequest['entities'][number]
const uid = (type: string, id: string) => ({ type: `XKS::${type}`, id })

/** Returns the request in Cedar's form, with only the given fields. */
export function toEvaluationRequest(
  facts: Facts,
  fields: ReadonlySet<string>,
  labels: Labels,
): EvaluationRequest {
  const { request } = facts
  const action = ACTIONS[request.operation]
  const principal = toPrincipalEntity(facts, fields)
  const resource = toKeyEntity(request, fields, labels)
  const parents = action === 'Describe' ? [] : [uid('Action', 'Use')]
  return {
    principal: principal.uid,
    action: uid('Action', action),
    resource: resource.uid,
    context: toContext(facts, fields),
    entities: [principal, resource, { uid: uid('Action', action), attrs: {}, parents }],
  }
}

function toPrincipalEntity(facts: Facts, fields: ReadonlySet<string>): Entity {
  const { principal } = facts
  const attrs: Record<string, string> = {}
  for (const name of ['arn', 'kind', 'name', 'sessionName', 'path'] as const) {
    const value = fields.has(`principal.${name}`) ? principal[name] : undefined
    if (value !== undefined) attrs[name] = value
  }
  const parents = []
  if (fields.has('principal.account') && principal.account !== undefined)
    parents.push(uid('Account', principal.account))
  if (fields.has('principal.roles')) parents.push(...principal.roles.map((arn) => uid('Role', arn)))
  if (fields.has('principal.service') && principal.kind === 'service')
    parents.push(uid('AwsService', principal.name))
  const tags = fields.has('principal.tags') ? { tags: facts.tags } : {}
  return { uid: uid('Principal', principal.arn), attrs, parents, ...tags }
}

function toKeyEntity(request: PolicyRequest, fields: ReadonlySet<string>, labels: Labels): Entity {
  const { keyStore, keyId, keyVersion, keyCreatedAt } = request
  const { groups, tags } = labels.of(keyStore, keyId)
  const hasAll = fields.has('resource')
  return {
    uid: uid('Key', `${keyStore}/${keyId}`),
    attrs: {
      ...(hasAll ? { id: keyId, keyStore } : {}),
      ...(fields.has('resource.version') ? { version: keyVersion } : {}),
      ...(fields.has('resource.createdAt') && keyCreatedAt !== undefined
        ? { createdAt: datetime(keyCreatedAt) }
        : {}),
    },
    parents: [uid('KeyStore', keyStore), ...groups.map((group) => uid('KeyGroup', group))],
    ...(hasAll ? { tags } : {}),
  }
}

function toContext(facts: Facts, fields: ReadonlySet<string>): Record<string, Value> {
  const context: Record<string, Value> = {}
  for (const field of fields) {
    const isThere = RECORDS[field]
    if (isThere?.(facts) === true) nested(context, field.slice('context.'.length))
    const entry = CONTEXT[field]
    if (entry === undefined) continue
    const value = entry.of(facts)
    const [, name = '', leaf] = field.split('.')
    // A record may be present even if it lacks this field.
    if (leaf !== undefined && isInRecord(facts, field)) nested(context, name)
    if (value === undefined) continue
    if (leaf === undefined) context[name] = value
    else nested(context, name)[leaf] = value
  }
  return context
}

/** Returns the record with this name, creating it if it does not exist. */
function nested(context: Record<string, Value>, name: string): Record<string, Value> {
  return (context[name] ??= {}) as Record<string, Value>
}
