/** Searches the audit logs on this host, shows their newest entries, and serves their files. */
// SPDX-License-Identifier: Apache-2.0
import type { AuditReader } from '../../audit/reader/audit-reader.ts'
import type { Filter, PageOrder } from '../../audit/reader/search.ts'
import type { components } from '../../openapi/types.gen.ts'
import { AdminError } from '../errors.ts'
import { checkPermitted, keyStoresFor } from '../principal.ts'
import { type AdminRoute, checkParameters, ok, toWholeNumber } from '../route.ts'

export interface AuditRouteDeps {
  readonly readAudit: () => Promise<components['schemas']['AdminAudit']>
  /** Reads the logs on this host. */
  readonly reader: AuditReader
  /** Returns a log file; undefined if no readable file has this name. */
  readonly readLogFile: (log: string, path: string) => Promise<Buffer | undefined>
}

/** Content types of text files; all other files are tiles and bundles. */
const TYPES: Readonly<Record<string, string>> = {
  checkpoint: 'text/plain; charset=utf-8',
  'log.vkey': 'text/plain; charset=utf-8',
  'certificate.json': 'application/json',
  'pruned.json': 'application/json',
}

export function auditRoutes(deps: AuditRouteDeps): readonly AdminRoute[] {
  const { readAudit, reader, readLogFile } = deps
  const inTurn = createTurns()
  const checkVisible = async (log: string, index: number, keyStores: readonly string[]) => {
    const one = { from: index, before: index + 1, newest: false, limit: 1 }
    const { entries } = await reader.page(log, { keyStores }, one)
    if (entries.length > 0) return
    throw new AdminError(
      'NOT_FOUND',
      `the log ${log} has no request entry at index ${String(index)}`,
    )
  }
  return [
    {
      method: 'GET',
      path: '/admin/v1/audit',
      permission: 'read',
      async handle({ principal }) {
        // Entries name the keys and callers of every key store, so a limited caller may not see
        // them.
        checkPermitted(principal, 'read')
        return ok(await readAudit())
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/audit/logs',
      permission: 'audit',
      handle: async () => ok({ logs: await reader.logs() }),
    },
    {
      method: 'GET',
      path: '/admin/v1/audit/entries',
      permission: 'audit',
      async handle({ principal, query, isGone }) {
        checkParameters(query, ENTRY_PARAMETERS)
        const keyStores = keyStoresFor(principal, 'audit')
        const filter = { ...toFilter(query), keyStores }
        return ok(await inTurn(isGone, () => reader.page(toLog(query), filter, toOrder(query))))
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/audit/proof',
      permission: 'audit',
      async handle({ principal, query, isGone }) {
        checkParameters(query, ['log', 'index'])
        const log = toLog(query)
        const index = toWholeNumber(query, 'index')
        if (index === undefined) throw new AdminError('INPUT_INVALID', 'index is missing')
        const keyStores = keyStoresFor(principal, 'audit')
        return inTurn(isGone, async () => {
          if (keyStores !== undefined) await checkVisible(log, index, keyStores)
          return ok({ proof: await reader.prove(log, index) })
        })
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/audit/logs/:log/*',
      permission: 'audit',
      async handle({ principal, parameters: { log = '', '*': path = '' } }) {
        checkPermitted(principal, 'audit')
        const body = await readLogFile(log, path)
        if (body === undefined) throw new AdminError('NOT_FOUND', `the log ${log} has no such file`)
        return { status: 200, body, contentType: TYPES[path] ?? 'application/octet-stream' }
      },
    },
  ]
}

const FILTERS = {
  kmsRequestId: 'requestId',
  principal: 'principal',
  keyStore: 'keyStore',
  keyId: 'keyId',
  operation: 'operation',
  outcome: 'outcome',
  accessClass: 'accessClass',
} as const satisfies Partial<Record<keyof Filter, string>>

const ENTRY_PARAMETERS: readonly string[] = [
  ...['log', 'from', 'before', 'order', 'limit', 'since', 'until'],
  ...Object.values(FILTERS),
]

/** Maximum number of entries in one response. */
const MAX_ENTRIES = 500

function toLog(query: URLSearchParams): string {
  const log = query.get('log') ?? ''
  if (/^[A-Za-z0-9][A-Za-z0-9-]{0,100}$/.test(log)) return log
  throw new AdminError('INPUT_INVALID', 'log must be a name from /admin/v1/audit/logs')
}

function toFilter(query: URLSearchParams): Filter {
  const texts = Object.entries(FILTERS).flatMap(([field, name]) => {
    const value = query.get(name)
    if (value !== null && value.length > 2048) {
      throw new AdminError(
        'INPUT_INVALID',
        `${name}: expected at most 2,048 characters, found ${String(value.length)}`,
      )
    }
    return value === null ? [] : [[field, value]]
  })
  const times = { since: toWholeNumber(query, 'since'), until: toWholeNumber(query, 'until') }
  return { ...(Object.fromEntries(texts) as Filter), ...times }
}

function toOrder(query: URLSearchParams): PageOrder {
  const order = query.get('order') ?? 'oldest'
  if (order !== 'oldest' && order !== 'newest') {
    throw new AdminError('INPUT_INVALID', 'order must be oldest or newest')
  }
  const limit = toWholeNumber(query, 'limit') ?? MAX_ENTRIES
  return {
    from: toWholeNumber(query, 'from'),
    before: toWholeNumber(query, 'before'),
    newest: order === 'newest',
    limit: Math.min(MAX_ENTRIES, Math.max(1, limit)),
  }
}

/** Maximum number of searches that wait for their turn. */
const MAX_WAITING = 16
const RETRY_AFTER_SECONDS = 5

/**
 * Runs one search at a time, so that concurrent callers together use no more resources than a
 * single caller. Skips the searches of callers who have disconnected.
 */
function createTurns() {
  let last: Promise<unknown> = Promise.resolve()
  let waiting = 0
  return async <T>(isGone: () => boolean, work: () => Promise<T>): Promise<T> => {
    if (waiting >= MAX_WAITING) {
      throw new AdminError('UNAVAILABLE', 'too many audit log searches are waiting', {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      })
    }
    waiting += 1
    const turn = last.then(() => {
      waiting -= 1
      if (isGone()) throw new AdminError('UNAVAILABLE', 'the caller closed the connection')
      return work()
    })
    last = turn.catch(() => undefined)
    return turn
  }
}
