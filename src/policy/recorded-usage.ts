/**
 * Applies policies to recorded usage: finds the callers that the policies would refuse, and
 * suggests the smallest set of policies that permits the recorded requests.
 */
// SPDX-License-Identifier: Apache-2.0
import { SUCCESS, type UsageKey } from '../usage/usage-key.ts'
import type { Activity } from '../usage/usage-table.ts'
import { type DenialReason, createEngine } from './engine.ts'
import { isFor } from './field-reads.ts'
import type { PolicySet } from './policy-set.ts'
import { ACTIONS, type KeyOperation, type PolicyRequest } from './facts.ts'
import { isRecorded } from './request.ts'
import { parsePrincipal, parseViaService } from './principal.ts'

/** Refused requests that have all recorded properties in common. */
export interface SimulatedRefusal {
  /** The caller, or the role if the caller is a role session. */
  readonly principal: string
  readonly service: string
  /** KEY_STORE/KEY_ID */
  readonly key: string
  readonly operation: string
  readonly kmsOperation: string
  readonly requests: number
  /** Wall time in milliseconds since the Unix epoch. */
  readonly lastAt: number
  readonly denial: DenialReason
  readonly policies: readonly string[]
  /**
   * Whether a policy reads data that is not recorded, such as the time of day, in which case the
   * request might be allowed.
   */
  readonly isUncertain: boolean
}

export interface Simulation {
  /** Requests that used a key, except those that could not be attributed to a caller. */
  readonly requests: number
  /** Requests that were answered at the time and that the policies refuse. */
  readonly wouldBeRefused: number
  /** Requests, refused or allowed, for which a policy reads data that was not recorded. */
  readonly uncertain: number
  /** Requests that policies refused at the time and that these policies would allow. */
  readonly wouldBeAllowed: number
  /**
   * Requests recorded without their caller, because more than `activity.maxSubjects` callers were
   * active. Whether they would be refused is unknown.
   */
  readonly notToldApart: number
  /** Sorted by number of requests, in descending order. */
  readonly refusals: readonly SimulatedRefusal[]
  /** Fields that the policies read but recorded usage lacks. */
  readonly unrecorded: readonly string[]
}

/** @param set if it has no policies, everything is allowed */
export function simulate(set: PolicySet, usage: readonly Activity[]): Simulation {
  const engine = createEngine(set)
  const hasPolicies = set.policies.length > 0
  const refusals = new Map<string, SimulatedRefusal>()
  const unrecorded = new Set<string>()
  let [requests, wouldBeRefused, uncertain, wouldBeAllowed, notToldApart] = [0, 0, 0, 0, 0]
  for (const one of usage) {
    const { subject } = one
    if (subject.isOverflow) notToldApart += one.requests
    const request = toPolicyRequest(one)
    if (request === undefined) continue
    requests += one.requests
    const fields = findUnrecorded(set, request)
    for (const field of fields) unrecorded.add(field)
    if (fields.length > 0) uncertain += one.requests
    const { denial, policies } = hasPolicies
      ? engine.decide(request)
      : { denial: undefined, policies: [] }
    if (denial === undefined) {
      if (subject.outcome.startsWith('POLICY_')) wouldBeAllowed += one.requests
    } else if (subject.outcome === SUCCESS) {
      wouldBeRefused += one.requests
      addRefusal(refusals, one, { denial, policies, isUncertain: fields.length > 0 })
    }
  }
  engine.close()
  return {
    ...{ requests, wouldBeRefused, uncertain, wouldBeAllowed, notToldApart },
    refusals: [...refusals.values()].sort((a, b) => b.requests - a.requests),
    unrecorded: [...unrecorded].sort(),
  }
}

/** Returns undefined for a health check, and for requests that could not be attributed. */
function toPolicyRequest({ subject, lastAt }: Activity): PolicyRequest | undefined {
  const { keyStore, keyId, operation, isOverflow } = subject
  if (keyId === undefined || isOverflow || !(operation in ACTIONS)) return undefined
  const { principal, kmsKeyArn, kmsOperation, viaService, vpc, vpce } = subject
  const metadata = {
    ...(principal === undefined ? {} : { awsPrincipalArn: principal }),
    ...(kmsKeyArn === undefined ? {} : { kmsKeyArn }),
    ...(kmsOperation === undefined ? {} : { kmsOperation }),
    ...(viaService === undefined ? {} : { kmsViaService: viaService }),
    ...(vpc === undefined ? {} : { awsSourceVpc: vpc }),
    ...(vpce === undefined ? {} : { awsSourceVpce: vpce }),
  }
  return {
    ...{ keyStore, keyId, operation: operation as KeyOperation, metadata, keyVersion: 1 },
    credential: { id: '' },
    ...{ now: lastAt, remoteAddress: '', aadBytes: 0, plaintextBytes: 0 },
  }
}

function findUnrecorded(
  { policies, labels }: PolicySet,
  request: PolicyRequest,
): readonly string[] {
  const { keyStore, keyId, operation } = request
  const { groups } = labels.of(keyStore, keyId)
  const target = { key: `${keyStore}/${keyId}`, keyStore, groups, action: ACTIONS[operation] }
  const reads = policies.filter(({ json }) => isFor(json, target)).flatMap((one) => [...one.reads])
  return [...new Set(reads)].filter((field) => !isRecorded(field))
}

function addRefusal(
  refusals: Map<string, SimulatedRefusal>,
  { subject, requests, lastAt }: Activity,
  why: Pick<SimulatedRefusal, 'denial' | 'policies' | 'isUncertain'>,
): void {
  const { keyStore, keyId = '', operation, kmsOperation = '-', viaService = '-' } = subject
  const principal = callerOf(subject)?.name ?? '-'
  const key = `${keyStore}/${keyId}`
  const id = JSON.stringify([principal, viaService, key, operation, kmsOperation, why])
  const before = refusals.get(id)
  refusals.set(id, {
    ...{ principal, service: viaService, key, operation, kmsOperation, ...why },
    requests: requests + (before?.requests ?? 0),
    lastAt: Math.max(lastAt, before?.lastAt ?? 0),
  })
}

interface Caller {
  readonly name: string
  /** The caller, as a constraint for a policy's scope. */
  readonly constraint: string
}

/** Returns the role if the caller is a role session, otherwise the principal itself. */
function callerOf({ principal: arn }: UsageKey): Caller | undefined {
  if (arn === undefined) return undefined
  const principal = parsePrincipal(arn)
  const [role] = principal.roles
  const [type, name] =
    role !== undefined
      ? ['Role', role]
      : principal.kind === 'service'
        ? ['AwsService', principal.name]
        : ['Principal', arn]
  const operator = type === 'Principal' ? '==' : 'in'
  return { name, constraint: `principal ${operator} XKS::${type}::${quote(name)}` }
}

/** Quotes a string for Cedar. */
function quote(text: string): string {
  const escaped = text
    .replace(/[\\"]/g, '\\$&')
    .replace(/\p{Cc}/gu, (one) => `\\u{${(one.codePointAt(0) ?? 0).toString(16)}}`)
  return `"${escaped}"`
}

interface Group {
  readonly caller: Caller
  /** Undefined if no service made the call on the caller's behalf. */
  readonly service: string | undefined
  readonly members: Activity[]
}

/**
 * Returns one policy for each caller and service. Together, the policies allow the answered
 * requests, and as little else as a policy's scope can express. Empty if nothing was recorded.
 */
export function suggestPolicies(usage: readonly Activity[]): string {
  const groups = new Map<string, Group>()
  for (const one of usage) {
    const caller = callerOf(one.subject)
    if (one.subject.outcome !== SUCCESS || caller === undefined || !toPolicyRequest(one)) continue
    const { viaService } = one.subject
    const service = viaService === undefined ? undefined : parseViaService(viaService).name
    const id = JSON.stringify([caller.constraint, service])
    const group = groups.get(id) ?? { caller, service, members: [] }
    group.members.push(one)
    groups.set(id, group)
  }
  const sorted = [...groups.values()].sort((a, b) => sizeOf(b) - sizeOf(a))
  return sorted.map((group, i) => toPolicy(group, i + 1)).join('\n')
}

const sizeOf = ({ members }: Group) => members.reduce((sum, { requests }) => sum + requests, 0)
const unique = (texts: readonly string[]) => [...new Set(texts)].sort()

function toPolicy(group: Group, number: number): string {
  const { caller, service, members } = group
  const subjects = members.map(({ subject }) => subject)
  const keys = unique(subjects.map(({ keyStore, keyId = '' }) => `${keyStore}/${keyId}`))
  const actions = unique(subjects.map(({ operation }) => ACTIONS[operation as KeyOperation]))
  const lastAt = Math.max(...members.map((one) => one.lastAt))
  const key = (name: string) => `XKS::Key::${quote(name)}`
  const [first = ''] = keys
  const conditions = [
    ...(keys.length === 1 ? [] : [`[${keys.map(key).join(', ')}].contains(resource)`]),
    service === undefined
      ? '!(context has viaService)'
      : `context has viaService && context.viaService.name == ${quote(service)}`,
    listed(
      'kmsOperation',
      subjects.map(({ kmsOperation = '' }) => kmsOperation),
    ),
    ...optional(
      'kmsKey',
      'kmsKey.account',
      subjects.map(({ kmsKeyArn }) => kmsKeyArn?.split(':')[4]),
    ),
    ...optional(
      'sourceVpc',
      'sourceVpc',
      subjects.map(({ vpc }) => vpc),
    ),
    ...optional(
      'sourceVpce',
      'sourceVpce',
      subjects.map(({ vpce }) => vpce),
    ),
  ]
  return `// ${String(sizeOf(group))} requests, the last at ${new Date(lastAt).toISOString()}
@id("suggested-${String(number)}")
permit (
  ${caller.constraint},
  action in [${actions.map((action) => `XKS::Action::"${action}"`).join(', ')}],
  resource${keys.length === 1 ? ` == ${key(first)}` : ''}
)
when {
  ${conditions.join(' &&\n  ')}
};
`
}

function listed(field: string, values: readonly string[]): string {
  return `[${unique(values).map(quote).join(', ')}].contains(context.${field})`
}

/**
 * Returns a condition on the recorded values, or none if any request lacked a value, because the
 * condition would refuse such a request.
 */
function optional(
  record: string,
  field: string,
  values: readonly (string | undefined)[],
): readonly string[] {
  const known = values.filter((value) => value !== undefined)
  if (known.length < values.length) return []
  return [`context has ${record} && ${listed(field, known)}`]
}
