/** Implements `latchkey audit verify`. */
// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os'
import { basename } from 'node:path'
import { type AuditLogs, findKnown, findMissing, openAuditLogs } from '../../app/audit-logs.ts'
import { loadLogPolicy } from '../../app/control-log.ts'
import { AuditError } from '../../audit/errors.ts'
import type { Problem } from '../../audit/reader/problem.ts'
import { findUnknownLogs, type UnknownLog } from '../../audit/reader/unknown-logs.ts'
import { type LogReport, verifyLog } from '../../audit/reader/verify-log.ts'
import { CONTROL_LOG } from '../../audit/writer/log-folder.ts'
import { systemClock } from '../../core/clock.ts'
import {
  CONFIG_FLAG,
  type Command,
  type Context,
  loadControlConfig,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { CONTEXT_FLAG, findAdminTarget, findTargetAt } from '../../terminal/contexts.ts'
import type { Output } from '../../terminal/output.ts'
import { type RefusedLog, withCopiedLogs } from '../audit-copies.ts'

export const AUDIT_FLAGS = {
  folder: {
    type: 'string',
    value: 'DIR',
    description: 'Folder that contains the logs, or a single log (default: audit.folder).',
  },
  'public-key': {
    type: 'string',
    value: 'KEY',
    description:
      'Public key, as printed by latchkey receipt key (default: the key of the control store).',
  },
  ...CONFIG_FLAG,
} as const

/** Flags of commands that read logs on this host, in a folder, or through an admin listener. */
export const AUDIT_READ_FLAGS = { ...CONTEXT_FLAG, ...AUDIT_FLAGS } as const

/** @throws AuditError, StorageError */
export function openLogs(context: Context) {
  return openAuditLogs({
    folder: stringFlag(context, 'folder'),
    publicKey: stringFlag(context, 'public-key'),
    loadConfig: () => loadControlConfig(context),
  })
}

export const auditVerify: Command = {
  flags: {
    policy: {
      type: 'string',
      value: 'FILE',
      description:
        'Witness policy: a c2sp.org/tlog-policy file. With it, verification succeeds only if a quorum of its witnesses has cosigned the control log.',
    },
    url: {
      type: 'string',
      value: 'URL',
      description:
        'Admin listener to copy the logs from. Certificates come from environment variables, and the token from an environment variable or from latchkey login. With --folder, the copies are kept there for the next run.',
    },
    ...CONTEXT_FLAG,
    ...AUDIT_FLAGS,
  },
  examples: [
    'latchkey audit verify --url https://latchkey.example.com:8444 --folder copies --public-key 3Kz…=',
    'latchkey audit verify',
    'latchkey audit verify --folder copy --public-key 3Kz…=',
  ],
  async run(context) {
    const target = await findTarget(context)
    if (target === undefined) {
      await verifyAll(context, await openLogs(context))
      return
    }
    const publicKey = stringFlag(context, 'public-key')
    if (publicKey === undefined) {
      throw new UsageError('USAGE', 'logs from a listener require --public-key', {
        hint: 'get the key from another source: a key from the same listener would prove nothing',
      })
    }
    await withCopiedLogs(target, stringFlag(context, 'folder'), {
      ...{ publicKey, output: context.output },
      async work({ folder, refused }) {
        const loadConfig = () => loadControlConfig(context)
        const logs = await openAuditLogs({ folder, publicKey, loadConfig }).catch(
          (error: unknown) => {
            const [first] = refused
            if (first === undefined) throw error
            throw new AuditError('AUDIT_INVALID', `${first.log}: ${describe(first)}`)
          },
        )
        await verifyAll(context, logs, refused)
      },
    })
  },
}

/**
 * Returns the listener that the flags name. Environment variables alone do not redirect the command
 * from this host to a listener.
 */
async function findTarget(context: Context) {
  const url = stringFlag(context, 'url')
  if (url !== undefined) return findTargetAt(context, url)
  return stringFlag(context, 'context') === undefined ? undefined : findAdminTarget(context)
}

/** @throws AuditError AUDIT_INVALID if there is a problem; AUDIT_UNKNOWN if a log is not recorded */
async function verifyAll(
  context: Context,
  logs: AuditLogs,
  refused: readonly RefusedLog[] = [],
): Promise<void> {
  const policyFile = stringFlag(context, 'policy')
  const policy = policyFile === undefined ? undefined : await loadLogPolicy(policyFile)
  const reports: LogReport[] = []
  for (const folder of logs.folders) {
    reports.push(
      await verifyLog(folder, {
        publicKey: logs.publicKey,
        policy,
        known: (origin, size) => findKnown(logs, origin, size),
        onProgress(entries) {
          context.output.progress(`${basename(folder)}: ${String(entries)} entries verified`)
        },
      }),
    )
  }
  // If the folder holds only a single log, the absence of all other logs is intended.
  const isDefault = stringFlag(context, 'folder') === undefined
  const isWhole = isDefault || logs.folders.some((one) => basename(one) === CONTROL_LOG)
  const { problems: missing, elsewhere } = isWhole
    ? findMissing(logs, reports, isDefault ? hostname() : undefined)
    : { problems: [], elsewhere: new Map<string, number>() }
  for (const [host, count] of elsewhere) {
    context.output.note(`${String(count)} logs from host ${host} are not in this folder`)
  }
  const now = systemClock.now()
  const { unknown, newer } = await findUnknownLogs(reports, { ...logs, now })
  for (const log of newer) {
    context.output.note(
      `${log} is newer than the control log in this folder, which does not record it yet`,
    )
  }
  const unwitnessed = policy === undefined ? [] : findUnwitnessed(reports)
  const absent = [...missing, ...unwitnessed]
  const found = [...reports.flatMap(({ problems }) => problems), ...absent, ...refused]
  context.output.result(
    [
      toText({ reports, absent, unknown }, context.output),
      ...refused.map((one) => context.output.fold(`${one.log}: ${describe(one)}`)),
    ].join('\n'),
    {
      ...{ valid: found.length + unknown.length === 0, reports, missing: absent, refused },
      ...{ unknown, newer },
    },
  )
  if (found.length > 0) {
    throw new AuditError('AUDIT_INVALID', `${String(found.length)} problems found`)
  }
  if (unknown.length === 0) return
  const names = unknown.map(({ log }) => log).join(', ')
  throw new AuditError('AUDIT_UNKNOWN', `not recorded in the control log: ${names}`, {
    hint: 'see "Unknown logs" in docs/audit.md for the possible causes',
  })
}

/**
 * Witnesses cosign only the control log. Without the control log, the cosignatures prove nothing.
 */
function findUnwitnessed(reports: readonly LogReport[]): readonly Problem[] {
  if (reports.some(({ isControl }) => isControl)) return []
  const message = 'the control log is not in this folder, and witnesses cosign no other log'
  return [{ kind: 'witness', message }]
}

interface Findings {
  readonly reports: readonly LogReport[]
  readonly absent: readonly Problem[]
  readonly unknown: readonly UnknownLog[]
}

function toText({ reports, absent, unknown }: Findings, output: Output): string {
  const resultOf = ({ folder, problems }: LogReport) => {
    if (problems.length > 0) return 'INVALID'
    return unknown.some(({ log }) => log === basename(folder)) ? 'UNKNOWN' : 'valid'
  }
  const rows = reports.map((report) => [
    basename(report.folder),
    String(report.size),
    String(report.requests),
    String(report.lost),
    String(report.pruned),
    report.firstTime ?? '',
    report.lastTime ?? '',
    stateOf(report),
    resultOf(report),
  ])
  const headings = [
    'LOG',
    'ENTRIES',
    'REQUESTS',
    'LOST',
    'PRUNED',
    'FIRST',
    'LAST',
    'STATE',
    'RESULT',
  ]
  const problems = reports.flatMap(({ folder, problems }) =>
    problems.map((problem) => `${basename(folder)}: ${describe(problem)}`),
  )
  const strangers = unknown.map((one) => `${one.log}: ${describe(one)}`)
  const lines = [output.table(headings, rows), ...problems, ...strangers, ...absent.map(describe)]
  return output.fold(lines.join('\n'))
}

/** The control log is never closed. */
function stateOf({ host, isOpen }: LogReport): string {
  if (host === undefined) return ''
  return isOpen ? 'open' : 'closed'
}

function describe({ kind, message, path, index }: Problem): string {
  const at = index === undefined ? '' : ` at entry ${String(index)}`
  return `${kind}${at}${path === undefined ? '' : ` in ${path}`}: ${message}`
}
