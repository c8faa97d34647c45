/**
 * Opens audit logs for a command: the logs on this host, the logs in a folder, or the logs behind
 * an admin listener.
 */
// SPDX-License-Identifier: Apache-2.0
import type { AuditReader } from '../audit/reader/audit-reader.ts'
import type { EntryPage, Filter, PageEntry, PageOrder } from '../audit/reader/search.ts'
import type { UnknownLogs } from '../audit/reader/unknown-logs.ts'
import { type Context, loadControlConfig, stringFlag, UsageError } from '../terminal/command.ts'
import { findAdminTarget } from '../terminal/contexts.ts'
import { openListener } from './operator.ts'

export interface FoundEntry extends PageEntry {
  /** Name of the log, and of its folder. */
  readonly log: string
  /** Full name of the log. */
  readonly origin: string
}

/**
 * Opens the logs, runs `work`, and closes them even if `work` throws. --folder and --public-key
 * name files on this host.
 */
export async function withAuditReader<T>(
  context: Context,
  work: (reader: AuditReader) => Promise<T>,
): Promise<T> {
  const folder = stringFlag(context, 'folder')
  const publicKey = stringFlag(context, 'public-key')
  const isLocal = folder !== undefined || publicKey !== undefined
  if (isLocal && stringFlag(context, 'context') !== undefined) {
    throw new UsageError('USAGE', '--context cannot be combined with --folder or --public-key', {
      hint: 'to copy the logs, run latchkey audit verify --context NAME --folder DIR',
    })
  }
  const target = isLocal ? undefined : await findAdminTarget(context)
  if (target === undefined) {
    const { openAuditReader } = await import('../app/audit-logs.ts')
    const loadConfig = () => loadControlConfig(context)
    const { reader, findUnknown } = await openAuditReader({ folder, publicKey, loadConfig })
    warnOfUnknownLogs(context, await findUnknown())
    return work(reader)
  }
  const { api } = await openListener(context, target)
  try {
    const { createRemoteAudit } = await import('../admin/client/audit.ts')
    return await work(createRemoteAudit(api))
  } finally {
    api.close()
  }
}

/** `audit verify` reports these logs with an exit code. Other commands still read them. */
function warnOfUnknownLogs({ output }: Context, { unknown, newer }: UnknownLogs): void {
  for (const { log, kind, message } of unknown) output.note(`${log}: ${kind}: ${message}`)
  for (const log of newer) {
    output.note(`${log}: newer: the control log in this folder does not record this log yet`)
  }
}

/** Number of entries that a command requests at once. A listener returns fewer. */
const PAGE_ENTRIES = 5000

/**
 * Returns a log's matching entries.
 * @param order starting position and direction (default: the whole log, oldest first)
 * @param onPage called with each page, before its entries
 */
export async function* readLog(
  reader: AuditReader,
  log: string,
  filter: Filter,
  order: Partial<PageOrder> = {},
  onPage?: (page: EntryPage) => void,
): AsyncGenerator<FoundEntry, void, undefined> {
  let { from, before } = order
  const newest = order.newest === true
  for (;;) {
    const limit = order.limit ?? PAGE_ENTRIES
    const page = await reader.page(log, filter, { from, before, newest, limit })
    onPage?.(page)
    for (const { index, entry } of page.entries) yield { log, origin: page.origin, index, entry }
    if (page.next === undefined) return
    if (newest) before = page.next
    else from = page.next
  }
}
