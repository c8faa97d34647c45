/** Implements `latchkey audit reconcile`. */
// SPDX-License-Identifier: Apache-2.0
import { findCloudTrailFiles, type KmsEvent, readKmsEvents } from '../../audit/cloudtrail/events.ts'
import { type Finding, type Reconciliation, reconcile } from '../../audit/cloudtrail/reconcile.ts'
import {
  createLastUsageCheck,
  type LastUsageCheck,
  loadLastUsages,
} from '../../audit/cloudtrail/last-usage.ts'
import { AuditError } from '../../audit/errors.ts'
import { openLog, type OpenedLog } from '../../audit/reader/log-reader.ts'
import { searchLog } from '../../audit/reader/search.ts'
import type { AuditEntry } from '../../audit/record.ts'
import { type Command, stringFlag, UsageError } from '../../terminal/command.ts'
import type { Output } from '../../terminal/output.ts'
import { AUDIT_FLAGS, openLogs } from './audit.ts'

export const auditReconcile: Command = {
  flags: {
    cloudtrail: {
      type: 'string',
      value: 'PATH',
      description: 'CloudTrail file (.json or .json.gz), or a folder of such files.',
    },
    'key-last-usage': {
      type: 'string',
      value: 'FILE',
      description:
        'File with kms:GetKeyLastUsage responses as the AWS CLI prints them: one response for each KMS key. It can be combined with --cloudtrail.',
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
    'latchkey audit reconcile --key-last-usage last-usage.json',
    'latchkey audit reconcile --cloudtrail events.json --folder copy --public-key 3Kz…= --json',
  ],
  async run(context) {
    const path = stringFlag(context, 'cloudtrail')
    const usageFile = stringFlag(context, 'key-last-usage')
    if (path === undefined && usageFile === undefined) {
      throw new UsageError('USAGE', 'expected --cloudtrail PATH or --key-last-usage FILE')
    }
    const usages = usageFile === undefined ? undefined : await loadLastUsages(usageFile)
    const check = usages && createLastUsageCheck(usages)
    const { folders, publicKey, hashPrincipal } = await openLogs(context)
    const logs: OpenedLog[] = []
    for (const folder of folders) logs.push(await openLog(folder, publicKey))
    const files = path === undefined ? [] : await findCloudTrailFiles(path)
    const count = createCounter(context.output)
    const entries = counted(entriesOf(logs, check), count('entries'))
    const compared = await reconcile(entries, eventsOf(files, count('CloudTrail events')), {
      keyArns: stringFlag(context, 'kms-key')?.split(',') ?? [],
      hashPrincipal,
    })
    const ofKeys = check?.findings() ?? []
    const result = {
      ...compared,
      findings: [...compared.findings, ...ofKeys],
      findingCount: compared.findingCount + ofKeys.length,
      keys: usages?.keys.length ?? 0,
    }
    context.output.result(toText(result, context.output), result)
    if (path !== undefined && result.from === undefined) {
      context.output.note('warning: the logs and the CloudTrail events do not overlap in time')
    }
    if (result.findingCount === 0) return
    throw new AuditError('AUDIT_DIFFERS', `${String(result.findingCount)} differences found`, {
      hint: 'see docs/audit.md for what each difference can mean',
    })
  },
}

function* entriesOf(
  logs: readonly OpenedLog[],
  check: LastUsageCheck | undefined,
): Generator<AuditEntry> {
  for (const log of logs) {
    for (const { entry } of searchLog(log, {})) {
      check?.take(entry)
      yield entry
    }
  }
}

async function* eventsOf(files: readonly string[], onOne: () => void): AsyncGenerator<KmsEvent> {
  for (const file of files) {
    for await (const event of readKmsEvents(file)) {
      onOne()
      yield event
    }
  }
}

function* counted<T>(all: Iterable<T>, onOne: () => void): Generator<T> {
  for (const one of all) {
    onOne()
    yield one
  }
}

/** Number of entries or events between progress updates. */
const SHOW_EVERY = 1000

const createCounter = (output: Output) => (what: string) => {
  let read = 0
  return () => {
    read += 1
    if (read % SHOW_EVERY === 0) output.progress(`${String(read)} ${what} read`)
  }
}

const HEADINGS = ['FINDING', 'TIME', 'OPERATION', 'PRINCIPAL', 'REQUEST', 'OTHER']

function toRow(finding: Finding): readonly string[] {
  const { kind, time, operation, principal, kmsRequestId, other = '' } = finding
  return [kind, time, operation, principal, kmsRequestId, other]
}

function toText(result: Reconciliation & { readonly keys: number }, output: Output): string {
  const { keys, matched, requests, events, notCompared, from, to, findings, principals } = result
  const period = from === undefined ? 'no period' : `${from} to ${String(to)}`
  return [
    `compared  ${period}`,
    `requests  ${String(requests)} in the logs, ${String(events)} in CloudTrail, ${String(matched)} in both`,
    `outside   ${String(notCompared)} from periods that only one source covers`,
    ...(keys === 0 ? [] : [`last use  ${String(keys)} KMS keys`]),
    ...(findings.length === 0 ? [] : ['', output.table(HEADINGS, findings.map(toRow))]),
    ...(principals.length === 0
      ? []
      : [
          '',
          output.table(
            ['PRINCIPAL', 'MATCHED', 'FINDINGS'],
            principals.map((one) => [one.principal, String(one.matched), String(one.findings)]),
          ),
        ]),
  ].join('\n')
}
