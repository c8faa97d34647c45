/** Parses requests and cases in YAML, for `policy explain` and `policy test`. */
// SPDX-License-Identifier: Apache-2.0
import { parseDocument } from 'yaml'
import { parseDate, parseDuration } from '../core/duration.ts'
import { suggest } from '../core/suggest.ts'
import { PolicyError, type PolicyFault } from './cedar.ts'
import type { Decision } from './engine.ts'
import { ACTIONS, type KeyOperation, type PolicyRequest } from './facts.ts'

export interface PolicyCase {
  readonly name: string
  readonly request: PolicyRequest
  readonly expect: 'allow' | 'deny'
  /**
   * Ids of the policies that must have decided the request; undefined if any policy may have
   * decided it.
   */
  readonly by: readonly string[] | undefined
}

export interface CaseResult {
  readonly name: string
  readonly passed: boolean
  readonly expect: 'allow' | 'deny'
  readonly decision: Decision
}

type Settings = Readonly<Record<string, unknown>>

const METADATA = [
  ...['awsPrincipalArn', 'kmsKeyArn', 'kmsOperation', 'kmsViaService'],
  ...['awsSourceVpc', 'awsSourceVpce'],
] as const

/** Names of the fields that a request may have. */
const FIELDS = new Set<string>([
  ...METADATA,
  ...['keyStore', 'key', 'operation', 'other', 'at', 'credentialId', 'credentialAge', 'clientName'],
  ...['tlsVersion', 'remoteAddress', 'plaintextBytes', 'aadBytes', 'keyVersion', 'keyCreatedAt'],
])

/**
 * @throws PolicyError POLICY_INVALID listing every error
 * @param now time to use for a request that does not state one
 */
export function parseCases(path: string, text: string, now: number): readonly PolicyCase[] {
  const faults: PolicyFault[] = []
  const file = parseYaml(path, text, faults)
  const list: unknown = isSettings(file) ? file['cases'] : undefined
  const defaults: unknown = isSettings(file) ? (file['defaults'] ?? {}) : {}
  if (faults.length === 0 && (!Array.isArray(list) || list.length === 0)) {
    faults.push({ path, message: 'expected a list named cases, with at least one case' })
  }
  if (!isSettings(defaults))
    faults.push({ path: `${path}: defaults`, message: 'expected settings' })
  const cases = (Array.isArray(list) ? (list as unknown[]) : []).map((one, i) => {
    const at = `${path}: cases[${String(i)}]`
    const settings = isSettings(one) ? one : {}
    const { name = `case ${String(i + 1)}`, request, expect, by, ...rest } = settings
    for (const unknown of Object.keys(rest)) {
      faults.push({
        path: `${at}.${unknown}`,
        message: 'unknown field: expected name, request, expect or by',
      })
    }
    if (expect !== 'allow' && expect !== 'deny') {
      faults.push({ path: `${at}.expect`, message: 'expected allow or deny' })
    }
    const ids = typeof by === 'string' ? [by] : by
    if (ids !== undefined && !(Array.isArray(ids) && ids.every((id) => typeof id === 'string'))) {
      faults.push({ path: `${at}.by`, message: 'expected the id of a policy, or a list of ids' })
    }
    const given = isSettings(request)
      ? { ...(defaults as Settings), ...request }
      : (defaults as Settings)
    return {
      name: String(name),
      request: toRequest(`${at}.request`, given, now, faults),
      expect: expect as PolicyCase['expect'],
      by: ids as readonly string[] | undefined,
    }
  })
  if (faults.length > 0) throw invalid(faults)
  return cases
}

/** Parses a single request. @throws PolicyError POLICY_INVALID listing every error */
export function parseRequest(path: string, text: string, now: number): PolicyRequest {
  const faults: PolicyFault[] = []
  const settings = parseYaml(path, text, faults)
  const request = toRequest(path, isSettings(settings) ? settings : {}, now, faults)
  if (faults.length === 0 && !isSettings(settings)) {
    faults.push({ path, message: 'expected settings such as keyStore, key and operation' })
  }
  if (faults.length > 0) throw invalid(faults)
  return request
}

/** Returns the request that a log line describes. Fields that the line lacks count as absent. */
export function parseLogLine(line: Settings): PolicyRequest | undefined {
  const { keyStore, keyId, operation, time } = line
  const isRequest = typeof keyStore === 'string' && typeof keyId === 'string'
  if (!isRequest || typeof operation !== 'string' || !(operation in ACTIONS)) return undefined
  const text = (name: string) => {
    const value = line[name]
    return typeof value === 'string' ? { [name]: value } : {}
  }
  const other = line['otherMetadata']
  return {
    ...{ keyStore, keyId, operation: operation as KeyOperation },
    metadata: {
      ...Object.assign({}, ...METADATA.map(text)),
      ...(isSettings(other) ? { other } : {}),
    } as PolicyRequest['metadata'],
    keyVersion: Number(line['keyVersion'] ?? 1),
    credential: { id: textOf(line['accessKeyId']) },
    now: Date.parse(String(time)),
    remoteAddress: textOf(line['remoteAddress']),
    ...{ aadBytes: 0, plaintextBytes: 0 },
  }
}

const textOf = (value: unknown) => (typeof value === 'string' ? value : '')

export function judgeCase(
  { name, request, expect, by }: PolicyCase,
  decide: (request: PolicyRequest) => Decision,
): CaseResult {
  const decision = decide(request)
  const found = decision.denial === undefined ? 'allow' : 'deny'
  const isBy =
    by === undefined || JSON.stringify([...by].sort()) === JSON.stringify(decision.policies)
  return { name, expect, decision, passed: found === expect && isBy }
}

function parseYaml(path: string, text: string, faults: PolicyFault[]): unknown {
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: true })
  for (const { message } of document.errors) {
    faults.push({ path, message: message.split('\n')[0] ?? '' })
  }
  return document.errors.length > 0 ? undefined : document.toJS({ maxAliasCount: 100 })
}

function toRequest(
  path: string,
  settings: Settings,
  now: number,
  faults: PolicyFault[],
): PolicyRequest {
  // `null` removes a default.
  const given: Settings = Object.fromEntries(
    Object.entries(settings).filter(([, value]) => value !== null),
  )
  const fault = (name: string, message: string) => {
    faults.push({ path: `${path}.${name}`, message })
  }
  for (const name of Object.keys(given).filter((one) => !FIELDS.has(one))) {
    const near = suggest(name, [...FIELDS])
    fault(name, `is not a known field${near === undefined ? '' : `; did you mean ${near}?`}`)
  }
  const text = (name: string) => {
    const value = given[name]
    if (value === undefined || typeof value === 'string') return value
    fault(name, 'expected a string; put a number in quotes')
    return undefined
  }
  const count = (name: string, otherwise: number) => {
    const value = given[name] ?? otherwise
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
    fault(name, 'expected a whole number below 2^53')
    return otherwise
  }
  const moment = (name: string) => {
    const value = text(name)
    const time = value === undefined ? undefined : parseDate(value)
    if (value !== undefined && time === undefined)
      fault(name, 'expected a date such as 2027-03-01T12:30:00Z')
    return time
  }
  const operation = text('operation') ?? 'Decrypt'
  if (!(operation in ACTIONS))
    fault('operation', `expected one of ${Object.keys(ACTIONS).join(', ')}`)
  const { other } = given
  if (other !== undefined && !isSettings(other)) fault('other', 'expected names with values')
  const metadata = Object.fromEntries(
    METADATA.flatMap((name) => {
      const value = text(name)
      return value === undefined ? [] : [[name, value]]
    }),
  )
  const at = moment('at') ?? now
  const age = text('credentialAge')
  const ageMs = age === undefined ? undefined : parseDuration(age)
  if (age !== undefined && ageMs === undefined)
    fault('credentialAge', 'expected a duration such as 90d')
  for (const name of ['keyStore', 'key']) if (given[name] === undefined) fault(name, 'is missing')
  return {
    keyStore: text('keyStore') ?? '',
    keyId: text('key') ?? '',
    operation: operation as KeyOperation,
    // The default is a call to KMS that no service made on the caller's behalf.
    metadata: {
      kmsOperation: operation === 'GetKeyMetadata' ? 'DescribeKey' : operation,
      ...metadata,
      ...(isSettings(other) ? { other } : {}),
    },
    keyVersion: count('keyVersion', 1),
    keyCreatedAt: moment('keyCreatedAt'),
    credential: {
      id: text('credentialId') ?? '',
      createdAt: ageMs === undefined ? undefined : at - ageMs,
    },
    now: at,
    tlsVersion: text('tlsVersion') ?? 'TLSv1.3',
    clientName: text('clientName'),
    remoteAddress: text('remoteAddress') ?? '',
    aadBytes: count('aadBytes', 0),
    plaintextBytes: count('plaintextBytes', 32),
  }
}

function isSettings(value: unknown): value is Settings {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(faults: readonly PolicyFault[]): PolicyError {
  const lines = faults.map(({ path, message }) => `${path}: ${message}`)
  return new PolicyError('POLICY_INVALID', lines.join('; '), { faults })
}
