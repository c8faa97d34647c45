/** Formats entries for other systems, as CSV, Elastic Common Schema or OCSF. */
// SPDX-License-Identifier: Apache-2.0
import { type AuditEntry, fieldOf } from '../record.ts'

export const FORMATS = ['jsonl', 'csv', 'ecs', 'ocsf'] as const
export type Format = (typeof FORMATS)[number]

const COLUMNS = [
  ...['time', 'kmsRequestId', 'outcome', 'operation', 'keyStore', 'keyId', 'keyVersion'],
  ...[
    'awsPrincipalArn',
    'awsPrincipalHash',
    'accessClass',
    'kmsOperation',
    'kmsKeyArn',
    'kmsViaService',
  ],
  ...['awsSourceVpc', 'awsSourceVpce', 'status', 'errorName', 'reason', 'policies'],
  ...['policyRevision', 'gateEpoch', 'accessKeyId', 'region', 'remoteAddress', 'durationUs'],
  ...['sealedSha256', 'seq'],
] as const

/** Returns the header line, if the format has one. */
export function headOf(format: Format): string | undefined {
  return format === 'csv' ? COLUMNS.join(',') : undefined
}

/** @param origin the log's name */
export function toLine(format: Format, entry: AuditEntry, origin: string, version: string): string {
  switch (format) {
    case 'jsonl':
      return JSON.stringify({ log: origin, ...entry })
    case 'csv':
      return COLUMNS.map((name) => toCell(fieldOf(entry, name))).join(',')
    case 'ecs':
      return JSON.stringify(toEcs(entry, origin))
    case 'ocsf':
      return JSON.stringify(toOcsf(entry, origin, version))
  }
}

/**
 * Formats a CSV cell (RFC 4180). Text that a spreadsheet would take for a formula gets a leading
 * apostrophe.
 */
function toCell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}

const textOf = (value: AuditEntry[string]) => (typeof value === 'string' ? value : undefined)
const numberOf = (value: AuditEntry[string]) => (typeof value === 'number' ? value : undefined)

/** Returns the account id in an ARN such as `arn:aws:iam::123456789012:user/Alice`. */
function accountOf(arn: string | undefined): string | undefined {
  return arn?.split(':')[4]
}

/** Formats an entry in Elastic Common Schema 8.17. */
function toEcs(entry: AuditEntry, origin: string): Readonly<Record<string, unknown>> {
  const principal = textOf(entry['awsPrincipalArn'] ?? entry['awsPrincipalHash'])
  const duration = numberOf(entry['durationUs'])
  return {
    '@timestamp': entry.time,
    ecs: { version: '8.17.0' },
    event: {
      kind: 'event',
      category: ['api'],
      type: [entry.outcome === 'allowed' ? 'allowed' : 'denied'],
      action: entry['operation'],
      outcome: entry.outcome === 'allowed' ? 'success' : 'failure',
      provider: 'latchkey',
      dataset: 'latchkey.audit',
      id: entry['kmsRequestId'],
      sequence: entry.seq,
      ...(duration === undefined ? {} : { duration: duration * 1000 }),
      ...(entry['reason'] === undefined ? {} : { reason: entry['reason'] }),
    },
    user: { id: principal },
    cloud: {
      provider: 'aws',
      service: { name: 'kms' },
      account: { id: accountOf(principal) },
      region: entry['region'],
    },
    source: { address: entry['remoteAddress'] },
    http: { response: { status_code: entry['status'] } },
    ...(entry['errorName'] === undefined ? {} : { error: { code: entry['errorName'] } }),
    latchkey: { log: origin, ...entry },
  }
}

/** Formats an entry in OCSF 1.5, class API Activity, profile cloud. */
function toOcsf(
  entry: AuditEntry,
  origin: string,
  version: string,
): Readonly<Record<string, unknown>> {
  const principal = textOf(entry['awsPrincipalArn'] ?? entry['awsPrincipalHash'])
  const isAllowed = entry.outcome === 'allowed'
  const account = accountOf(principal)
  const duration = numberOf(entry['durationUs'])
  return {
    activity_id: 99,
    activity_name: entry['operation'] ?? 'Unknown',
    category_uid: 6,
    category_name: 'Application Activity',
    class_uid: 6003,
    class_name: 'API Activity',
    type_uid: 600_399,
    type_name: `API Activity: ${textOf(entry['operation']) ?? 'Unknown'}`,
    severity_id: isAllowed ? 1 : 2,
    severity: isAllowed ? 'Informational' : 'Low',
    status_id: isAllowed ? 1 : 2,
    status: isAllowed ? 'Success' : 'Failure',
    status_code: fieldOf(entry, entry['errorName'] === undefined ? 'status' : 'errorName'),
    time: Date.parse(entry.time ?? ''),
    ...(duration === undefined ? {} : { duration: Math.round(duration / 1000) }),
    metadata: {
      version: '1.5.0',
      product: { name: 'Latchkey', vendor_name: 'Latchkey', version },
      profiles: ['cloud'],
      log_name: origin,
      ...(entry.seq === undefined ? {} : { sequence: entry.seq }),
      ...(entry['kmsRequestId'] === undefined ? {} : { correlation_uid: entry['kmsRequestId'] }),
    },
    actor: {
      user: {
        uid: principal ?? 'unknown',
        type_id: 0,
        ...(account && { account: { uid: account } }),
      },
    },
    api: {
      operation: entry['operation'] ?? 'Unknown',
      service: { name: 'xks' },
      request: { uid: textOf(entry['kmsRequestId']) ?? 'unknown' },
      response: {
        code: entry['status'],
        ...(entry['errorName'] === undefined ? {} : { error: entry['errorName'] }),
      },
    },
    cloud: {
      provider: 'AWS',
      region: entry['region'],
      ...(account && { account: { uid: account } }),
    },
    src_endpoint: {
      ip: entry['remoteAddress'],
      ...(entry['awsSourceVpc'] === undefined ? {} : { vpc_uid: entry['awsSourceVpc'] }),
    },
    resources: [
      {
        uid: textOf(entry['kmsKeyArn']) ?? textOf(entry['keyId']) ?? 'unknown',
        name: entry['keyId'],
        type: 'external key',
      },
    ],
    unmapped: entry,
  }
}
