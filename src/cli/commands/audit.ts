/** `latchkey audit verify | prove | check-proof` */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename } from 'node:path'
import { type AuditLogs, findKnown, findMissing, openAuditLogs } from '../../app/audit-logs.ts'
import { loadLogPolicy } from '../../app/control-log.ts'
import { AuditError } from '../../audit/errors.ts'
import { openLog } from '../../audit/reader/log-reader.ts'
import { checkProof, proveEntry } from '../../audit/reader/prove.ts'
import { searchLog } from '../../audit/reader/search.ts'
import type { Problem } from '../../audit/reader/problem.ts'
import { type LogReport, verifyLog } from '../../audit/reader/verify-log.ts'
import { CONTROL_LOG } from '../../audit/writer/log-folder.ts'
import {
  CONFIG_FLAG,
  type Command,
  type Context,
  loadControlConfig,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { CONTEXT_FLAG, findAdminTarget, findTargetAt } from '../../terminal/contexts.ts'
import { toTable } from '../../terminal/output.ts'
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
    description: 'Public key as printed by receipt key (default: the key of the control store).',
  },
  ...CONFIG_FLAG,
} as const

/**
 * @param publicKey public key of the store, if it is already known
 * @throws AuditError, StorageError
 */
export function openLogs(context: Context, publicKey?: string) {
  return openAuditLogs({
    folder: stringFlag(context, 'folder'),
    publicKey: publicKey ?? stringFlag(context, 'public-key'),
    loadConfig: () => loadControlConfig(context),
  })
}

/** Number of entries between two progress messages. */
const NOTE_EVERY = 1_000_000

export const auditVerify: Command = {
  flags: {
    policy: {
      type: 'string',
      value: 'FILE',
      description:
        'Require a quorum of witnesses for the control log: a c2sp.org/tlog-policy file.',
    },
    url: {
      type: 'string',
      value: 'URL',
      description:
        'Copy the logs from this admin listener, with the token and certificates from the environment, or the token of latchkey login. --folder then keeps the copies for the next run.',
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
      throw new UsageError('USAGE', 'logs from a listener need --public-key', {
        hint: 'a key from the same listener would prove nothing: take it from another source',
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

/** @throws AuditError AUDIT_INVALID if there is a problem */
async function verifyAll(
  context: Context,
  logs: AuditLogs,
  refused: readonly RefusedLog[] = [],
): Promise<void> {
  const policyFile = stringFlag(context, 'policy')
  const policy = policyFile === undefined ? undefined : await loadLogPolicy(policyFile)
  const reports: LogReport[] = []
  for (const folder of logs.folders) {
    let noted = 0
    reports.push(
      await verifyLog(folder, {
        publicKey: logs.publicKey,
        policy,
        known: (origin, size) => findKnown(logs, origin, size),
        onProgress(entries) {
          if (entries < noted + NOTE_EVERY) return
          noted = entries
          context.output.note(`${basename(folder)}: ${String(entries)} entries verified`)
        },
      }),
    )
  }
  // A folder that holds a single log lacks the others on purpose.
  const isDefault = stringFlag(context, 'folder') === undefined
  const isWhole = isDefault || logs.folders.some((one) => basename(one) === CONTROL_LOG)
  const { problems: missing, elsewhere } = isWhole
    ? findMissing(logs, reports, isDefault ? hostname() : undefined)
    : { problems: [], elsewhere: new Map<string, number>() }
  for (const [host, count] of elsewhere) {
    context.output.note(`${String(count)} logs of ${host} are not in this folder`)
  }
  const found = [...reports.flatMap(({ problems }) => problems), ...missing, ...refused]
  context.output.result(
    [toText(reports, missing), ...refused.map((one) => `${one.log}: ${describe(one)}`)].join('\n'),
    { valid: found.length === 0, reports, missing, refused },
  )
  if (found.length === 0) return
  throw new AuditError('AUDIT_INVALID', `${String(found.length)} problems found`)
}

function toText(reports: readonly LogReport[], missing: readonly Problem[]): string {
  const rows = reports.map((report) => [
    basename(report.folder),
    String(report.size),
    String(report.requests),
    String(report.lost),
    String(report.pruned),
    report.firstTime ?? '',
    report.lastTime ?? '',
    stateOf(report),
    report.problems.length === 0 ? 'valid' : 'INVALID',
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
  return [toTable(headings, rows), ...problems, ...missing.map(describe)].join('\n')
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

export const auditProve: Command = {
  operands: ['REQUEST_ID'],
  flags: {
    index: {
      type: 'string',
      value: 'N',
      description: 'Index of the entry, if several are about this request.',
    },
    ...AUDIT_FLAGS,
  },
  examples: [
    'latchkey audit prove 9d7e7a1c-7b0e-4c0f-9a57-6f1c6f8a2f31 > decrypt.tlog-proof',
    'latchkey audit check-proof decrypt.tlog-proof --public-key 3Kz…=',
  ],
  async run(context) {
    const [kmsRequestId = ''] = context.operands
    const wanted = stringFlag(context, 'index')
    const { folders, publicKey } = await openLogs(context)
    const found = []
    for (const folder of folders) {
      const log = await openLog(folder, publicKey)
      for (const one of searchLog(log, { kmsRequestId })) {
        if (wanted === undefined || String(one.index) === wanted) found.push(one)
      }
    }
    const [first, ...others] = found
    if (first === undefined) {
      throw new AuditError(
        'AUDIT_NOT_FOUND',
        `no log has an entry of the request ${kmsRequestId}`,
        {
          hint: 'an entry is in a checkpoint within audit.checkpointInterval',
        },
      )
    }
    if (others.length > 0) {
      const places = found.map(({ log, index }) => `${basename(log.folder)} ${String(index)}`)
      throw new UsageError(
        'USAGE',
        `several entries are about this request: ${places.join(', ')}`,
        {
          hint: 'choose one with --index',
        },
      )
    }
    const proof = await proveEntry(first.log, first.index, first.bytes)
    context.output.result(proof, { proof, index: first.index, entry: first.entry })
  },
}

export const auditCheckProof: Command = {
  operands: ['FILE'],
  flags: { 'public-key': AUDIT_FLAGS['public-key'], ...CONFIG_FLAG },
  examples: ['latchkey audit check-proof decrypt.tlog-proof --public-key 3Kz…='],
  async run(context) {
    const [file = ''] = context.operands
    const text = await readFile(file, 'utf8')
    const publicKey = stringFlag(context, 'public-key') ?? (await openLogs(context)).publicKey
    const { entry, index, checkpoint } = checkProof(text, publicKey)
    const { origin, size } = checkpoint
    const place = `entry ${String(index)} of ${String(size)} in ${origin}`
    context.output.result(`valid: ${place}\n${JSON.stringify(entry, undefined, 2)}`, {
      ...{ valid: true, origin, index, size, entry },
    })
  },
}
