/** `latchkey audit search | tail | export` */
// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises'
import { FORMATS, type Format, headOf, toLine } from '../../audit/reader/formats.ts'
import { openLog } from '../../audit/reader/log-reader.ts'
import { type Filter, type FoundEntry, searchLog } from '../../audit/reader/search.ts'
import { fieldOf } from '../../audit/record.ts'
import { VERSION } from '../../openapi/document.gen.ts'
import {
  type Command,
  type Context,
  type Flag,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { toTable } from '../../terminal/output.ts'
import { countFlag, parsePast } from '../../terminal/flags/time.ts'
import { AUDIT_FLAGS, openLogs } from './audit.ts'

const text = (value: string, description: string): Flag => ({ type: 'string', value, description })

const FILTER_FLAGS = {
  since: text('WHEN', 'Start of the period: 2h or 30d ago, or a date (default: the first entry).'),
  until: text('WHEN', 'End of the period, in the same forms (default: the last entry).'),
  'request-id': text('ID', 'Only this kmsRequestId.'),
  principal: text(
    'ARN',
    'Only this principal; `*` stands for any characters. In logs with hashed principals: a full ARN, or its hash.',
  ),
  'key-store': text('NAME', 'Only this key store.'),
  key: text('KEY_ID', 'Only this key.'),
  operation: text('NAME', 'Only GetKeyMetadata, Encrypt, Decrypt or GetHealthStatus.'),
  outcome: text('NAME', 'Only allowed, refused or failed.'),
  'access-class': text('NAME', 'Only this access class (docs/access-justifications.md).'),
} as const

function toFilter(context: Context): Filter {
  const past = (name: string) => {
    const value = stringFlag(context, name)
    return value === undefined ? undefined : parsePast(value)
  }
  return {
    ...{ since: past('since'), until: past('until') },
    kmsRequestId: stringFlag(context, 'request-id'),
    principal: stringFlag(context, 'principal'),
    keyStore: stringFlag(context, 'key-store'),
    keyId: stringFlag(context, 'key'),
    operation: stringFlag(context, 'operation'),
    outcome: stringFlag(context, 'outcome'),
    accessClass: stringFlag(context, 'access-class'),
  }
}

/** Number of entries read between two turns of the event loop. */
const TURN = 5000

/** Passes each matching entry to `take`, which ends the search by returning false. */
async function search(context: Context, take: (found: FoundEntry) => boolean): Promise<void> {
  const { folders, publicKey, hashPrincipal } = await openLogs(context)
  const filter = { ...toFilter(context), hashPrincipal }
  let read = 0
  for (const folder of folders) {
    for (const found of searchLog(await openLog(folder, publicKey), filter)) {
      if (!take(found)) return
      // Waits until standard output has drained.
      if (++read % TURN === 0) await sleep(0)
    }
  }
}

const HEADINGS = ['TIME', 'OUTCOME', 'OPERATION', 'KEY', 'PRINCIPAL', 'REQUEST']

function toRow({ entry }: FoundEntry): readonly string[] {
  const field = (name: string) => fieldOf(entry, name)
  return [
    ...[field('time'), entry.outcome === 'allowed' ? 'allowed' : field('errorName')],
    ...[field('operation'), `${field('keyStore')}/${field('keyId')}`],
    ...[field('awsPrincipalArn'), field('kmsRequestId')],
  ]
}

const LIMITS = { otherwise: 1000, least: 1, most: 100_000 }

export const auditSearch: Command = {
  flags: {
    limit: text('COUNT', 'Maximum number of entries to print (default: 1000).'),
    ...FILTER_FLAGS,
    ...AUDIT_FLAGS,
  },
  examples: [
    'latchkey audit search --since 24h --outcome refused',
    "latchkey audit search --principal 'arn:aws:sts::123456789012:assumed-role/vendor/*' --json",
  ],
  async run(context) {
    const most = countFlag(context, 'limit', LIMITS)
    const found: FoundEntry[] = []
    // Reads one more than is printed, to know whether there are more.
    await search(context, (one) => found.push(one) <= most)
    const isCut = found.length > most
    found.splice(most)
    if (isCut) context.output.note(`there are more than ${String(most)} entries; see --limit`)
    const entries = found.map(({ entry, index, log }) => ({
      ...{ log: log.checkpoint.origin, index },
      ...entry,
    }))
    context.output.result(toTable(HEADINGS, found.map(toRow)), entries)
  },
}

export const auditExport: Command = {
  flags: {
    format: text('FORMAT', `One of ${FORMATS.join(', ')} (default: jsonl).`),
    ...FILTER_FLAGS,
    ...AUDIT_FLAGS,
  },
  examples: [
    'latchkey audit export --format csv --since 30d > audit.csv',
    'latchkey audit export --format ocsf > audit.ocsf.jsonl',
  ],
  async run(context) {
    const asked = stringFlag(context, 'format') ?? 'jsonl'
    const format = FORMATS.find((one): one is Format => one === asked)
    if (format === undefined) {
      throw new UsageError(
        'USAGE',
        `--format: expected one of ${FORMATS.join(', ')}, found ${asked}`,
      )
    }
    let count = 0
    const head = headOf(format)
    if (head !== undefined) context.output.line(head)
    await search(context, ({ entry, log }) => {
      count += 1
      context.output.line(toLine(format, entry, log.checkpoint.origin, VERSION))
      return true
    })
    if (context.output.json) context.output.result('', { format, count })
  },
}

/** Interval at which `tail --follow` looks for a new checkpoint. */
const FOLLOW_MS = 500

export const auditTail: Command = {
  flags: {
    count: text('COUNT', 'Number of entries (default: 20).'),
    follow: { type: 'boolean', short: 'f', description: 'Print new entries until interrupted.' },
    ...FILTER_FLAGS,
    ...AUDIT_FLAGS,
  },
  examples: ['latchkey audit tail', 'latchkey audit tail --follow --outcome refused'],
  async run(context) {
    const most = countFlag(context, 'count', { otherwise: 20, least: 1, most: 10_000 })
    const isFollowing = context.flags['follow'] === true
    const sizes = new Map<string, number>()
    const last: FoundEntry[] = []
    const byTime = (a: FoundEntry, b: FoundEntry) =>
      (a.entry.time ?? '') < (b.entry.time ?? '') ? -1 : 1
    const { publicKey, hashPrincipal } = await openLogs(context)
    const filter = { ...toFilter(context), hashPrincipal }
    for (let isFirst = true; isFirst || isFollowing; isFirst = false) {
      if (!isFirst) await sleep(FOLLOW_MS)
      // Lists the logs again, because a process that starts has its own log.
      const { folders } = await openLogs(context, publicKey)
      for (const folder of folders) {
        const log = await openLog(folder, publicKey).catch(() => undefined)
        if (log === undefined) continue
        for (const one of searchLog(log, filter, sizes.get(folder) ?? 0)) last.push(one)
        sizes.set(folder, log.checkpoint.size)
        if (isFirst) last.splice(0, Math.max(0, last.sort(byTime).length - most))
      }
      const shown = last.splice(0).sort(byTime)
      if (isFollowing) for (const one of shown) context.output.line(toRow(one).join('  '))
      else {
        context.output.result(
          toTable(HEADINGS, shown.map(toRow)),
          shown.map(({ entry }) => entry),
        )
      }
    }
  },
}

export const auditPrincipalHash: Command = {
  operands: ['ARN'],
  flags: AUDIT_FLAGS,
  examples: ['latchkey audit principal-hash arn:aws:iam::123456789012:user/Alice'],
  async run(context) {
    const [arn = ''] = context.operands
    const { hashPrincipal } = await openLogs(context)
    if (hashPrincipal === undefined) {
      throw new UsageError('USAGE', 'the hash depends on the key of the store: omit --public-key')
    }
    const principalHash = hashPrincipal(arn)
    context.output.result(principalHash, { principal: arn, principalHash })
  },
}
