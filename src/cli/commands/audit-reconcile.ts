/** `latchkey audit reconcile` */
// SPDX-License-Identifier: Apache-2.0
import { findCloudTrailFiles, type KmsEvent, readKmsEvents } from '../../audit/cloudtrail/events.ts'
import { type Finding, type Reconciliation, reconcile } from '../../audit/cloudtrail/reconcile.ts'
import { AuditError } from '../../audit/errors.ts'
import { openLog, type OpenedLog } from '../../audit/reader/log-reader.ts'
import { searchLog } from '../../audit/reader/search.ts'
import type { AuditEntry } from '../../audit/record.ts'
import { type Command, stringFlag, UsageError } from '../../terminal/command.ts'
import { toTable } from '../../terminal/output.ts'
import { AUDIT_FLAGS, openLogs } from './audit.ts'

export const auditReconcile: Command = {
  flags: {
    cloudtrail: {
      type: 'string',
      value: 'PATH',
      description: 'File from CloudTrail, or folder of such files, .json or .json.gz (required).',
    },
    'kms-key': {
      type: 'string',
      value: 'ARN',
      description:
        'ARNs of KMS keys whose external keys are in this proxy, separated by commas (default: those with a request in the logs).',
    },
    ...AUDIT_FLAGS,
  },
  examples: [
    'latchkey audit reconcile --cloudtrail AWSLogs/123456789012/CloudTrail',
    'latchkey audit reconcile --cloudtrail events.json --folder copy --public-key 3Kz…= --json',
  ],
  async run(context) {
    const path = stringFlag(context, 'cloudtrail')
    if (path === undefined) {
      throw new UsageError('USAGE', 'expected --cloudtrail PATH')
    }
    const { folders, publicKey, hashPrincipal } = await openLogs(context)
    const logs: OpenedLog[] = []
    for (const folder of folders) logs.push(await openLog(folder, publicKey))
    const files = await findCloudTrailFiles(path)
    const result = await reconcile(entriesOf(logs), eventsOf(files), {
      keyArns: stringFlag(context, 'kms-key')?.split(',') ?? [],
      hashPrincipal,
    })
    context.output.result(toText(result), result)
    if (result.from === undefined) {
      context.output.note('warning: the logs and CloudTrail have no period in common')
    }
    if (result.findingCount === 0) return
    throw new AuditError('AUDIT_DIFFERS', `${String(result.findingCount)} differences found`, {
      hint: 'docs/audit.md says what each can mean',
    })
  },
}

function* entriesOf(logs: readonly OpenedLog[]): Generator<AuditEntry> {
  for (const log of logs) for (const { entry } of searchLog(log, {})) yield entry
}

async function* eventsOf(files: readonly string[]): AsyncGenerator<KmsEvent> {
  for (const file of files) yield* readKmsEvents(file)
}

const HEADINGS = ['FINDING', 'TIME', 'OPERATION', 'PRINCIPAL', 'REQUEST', 'OTHER']

function toRow(finding: Finding): readonly string[] {
  const { kind, time, operation, principal, kmsRequestId, other = '' } = finding
  return [kind, time, operation, principal, kmsRequestId, other]
}

function toText(result: Reconciliation): string {
  const { matched, requests, events, notCompared, from, to, findings, principals } = result
  const period = from === undefined ? 'no period' : `${from} to ${String(to)}`
  return [
    `compared  ${period}`,
    `requests  ${String(requests)} in the logs, ${String(events)} in CloudTrail, ${String(matched)} in both`,
    `outside   ${String(notCompared)} of a time that only one side covers`,
    ...(findings.length === 0 ? [] : ['', toTable(HEADINGS, findings.map(toRow))]),
    ...(principals.length === 0
      ? []
      : [
          '',
          toTable(
            ['PRINCIPAL', 'MATCHED', 'FINDINGS'],
            principals.map((one) => [one.principal, String(one.matched), String(one.findings)]),
          ),
        ]),
  ].join('\n')
}
