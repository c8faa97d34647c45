/** Implements `latchkey audit search | tail | export`. */
// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises'
import { FORMATS, type Format, headOf, toLine } from '../../audit/reader/formats.ts'
import type { AuditReader } from '../../audit/reader/audit-reader.ts'
import type { Filter } from '../../audit/reader/search.ts'
import { fieldOf } from '../../audit/record.ts'
import { VERSION } from '../../openapi/document.gen.ts'
import {
  type Command,
  type Context,
  type Flag,
  stringFlag,
  UsageError,
} from '../../terminal/command.ts'
import { countFlag, parsePast } from '../../terminal/flags/time.ts'
import { type FoundEntry, readLog, withAuditReader } from '../audit-reader.ts'
import { AUDIT_FLAGS, AUDIT_READ_FLAGS, openLogs } from './audit.ts'

const text = (value: string, description: string): Flag => ({ type: 'string', value, description })

const FILTER_FLAGS = {
  since: text(
    'WHEN',
    'Start of the period: a duration before now such as 2h or 30d, or a date (default: the first entry).',
  ),
  until: text('WHEN', 'End of the period, in the same formats (default: the last entry).'),
  'request-id': text('ID', 'Include only entries with this kmsRequestId.'),
  principal: text(
    'ARN',
    'Include only entries for this principal; `*` matches any characters. For logs with hashed principals, use a full ARN or its hash.',
  ),
  'key-store': text('NAME', 'Include only entries for this key store.'),
  key: text('KEY_ID', 'Include only entries for this key.'),
  operation: text(
    'NAME',
    'Include only entries for this operation: GetKeyMetadata, Encrypt, Decrypt or GetHealthStatus.',
  ),
  outcome: text('NAME', 'Include only entries with this outcome: allowed, refused or failed.'),
  'access-class': text(
    'NAME',
    'Include only entries with this access class (docs/access-justifications.md).',
  ),
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

/** Passes each matching entry to `take`, which ends the search by returning false. */
async function search(context: Context, take: (found: FoundEntry) => boolean): Promise<void> {
  const filter = toFilter(context)
  await withAuditReader(context, async (reader) => {
    for (const log of await reader.logs()) {
      for await (const found of readLog(reader, log, filter)) if (!take(found)) return
    }
  })
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
    ...AUDIT_READ_FLAGS,
  },
  examples: [
    'latchkey audit search --since 24h --outcome refused',
    "latchkey audit search --principal 'arn:aws:sts::123456789012:assumed-role/vendor/*' --json",
  ],
  async run(context) {
    const most = countFlag(context, 'limit', LIMITS)
    const found: FoundEntry[] = []
    // Read one more entry than will be printed, to detect whether there are more.
    await search(context, (one) => found.push(one) <= most)
    const isCut = found.length > most
    found.splice(most)
    if (isCut)
      context.output.note(`more than ${String(most)} entries match; raise --limit to see them`)
    const entries = found.map(({ entry, index, origin }) => ({
      ...{ log: origin, index },
      ...entry,
    }))
    context.output.result(context.output.table(HEADINGS, found.map(toRow)), entries)
  },
}

/** Number of entries between progress updates. */
const SHOW_EVERY = 1000

export const auditExport: Command = {
  flags: {
    format: text('FORMAT', `Output format: ${FORMATS.join(', ')} (default: jsonl).`),
    ...FILTER_FLAGS,
    ...AUDIT_READ_FLAGS,
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
    await search(context, ({ entry, origin }) => {
      count += 1
      // On a terminal, the printed entries already show the progress.
      if (!context.output.isTerminal && count % SHOW_EVERY === 0) {
        context.output.progress(`${String(count)} entries exported`)
      }
      context.output.line(toLine(format, entry, origin, VERSION))
      return true
    })
    if (context.output.json) context.output.result('', { format, count })
  },
}

/** Interval at which `tail --follow` looks for a new checkpoint. */
const FOLLOW_MS = 500

export const auditTail: Command = {
  flags: {
    count: text('COUNT', 'Number of entries to print (default: 20).'),
    follow: {
      type: 'boolean',
      short: 'f',
      description: 'Print new entries as they are written, until Ctrl-C.',
    },
    ...FILTER_FLAGS,
    ...AUDIT_READ_FLAGS,
  },
  examples: ['latchkey audit tail', 'latchkey audit tail --follow --outcome refused'],
  async run(context) {
    const most = countFlag(context, 'count', { otherwise: 20, least: 1, most: 10_000 })
    const isFollowing = context.flags['follow'] === true
    const filter = toFilter(context)
    await withAuditReader(context, async (reader) => {
      const sizes = new Map<string, number>()
      for (let isFirst = true; isFirst || isFollowing; isFirst = false) {
        if (!isFirst) await sleep(FOLLOW_MS)
        const shown: FoundEntry[] = []
        for (const log of await reader.logs()) {
          shown.push(
            ...(await readNew(reader, log, { filter, sizes, most: isFirst ? most : undefined })),
          )
        }
        shown.sort(byTime)
        if (isFirst) shown.splice(0, Math.max(0, shown.length - most))
        if (isFollowing)
          for (const one of shown) context.output.line(context.output.fold(toRow(one).join('  ')))
        else {
          context.output.result(
            context.output.table(HEADINGS, shown.map(toRow)),
            shown.map(({ entry }) => entry),
          )
        }
      }
    })
  },
}

const byTime = (a: FoundEntry, b: FoundEntry) =>
  (a.entry.time ?? '') < (b.entry.time ?? '') ? -1 : 1

interface NewEntries {
  readonly filter: Filter
  /** Log sizes at the last read. */
  readonly sizes: Map<string, number>
  /** Number of entries to return if the log has not been read before (default: all). */
  readonly most: number | undefined
}

/** Returns the entries added to a log since the last read, or none if the log cannot be opened. */
async function readNew(
  reader: AuditReader,
  log: string,
  { filter, sizes, most }: NewEntries,
): Promise<readonly FoundEntry[]> {
  const from = sizes.get(log)
  const found: FoundEntry[] = []
  const order = most === undefined ? { from } : { newest: true, limit: most }
  const noteSize = ({ size }: { readonly size: number }) => {
    if (!sizes.has(log) || most === undefined) sizes.set(log, size)
  }
  try {
    for await (const one of readLog(reader, log, filter, order, noteSize)) {
      found.push(one)
      if (found.length === most) break
    }
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'AUDIT_INVALID') throw error
  }
  return found
}

export const auditPrincipalHash: Command = {
  operands: ['ARN'],
  flags: AUDIT_FLAGS,
  examples: ['latchkey audit principal-hash arn:aws:iam::123456789012:user/Alice'],
  async run(context) {
    const [arn = ''] = context.operands
    const { hashPrincipal } = await openLogs(context)
    if (hashPrincipal === undefined) {
      throw new UsageError('USAGE', 'the hash requires the key of the store: omit --public-key')
    }
    const principalHash = hashPrincipal(arn)
    context.output.result(principalHash, { principal: arn, principalHash })
  },
}
