/**
 * Pages of the admin API's lists. A caller passes `limit` and, for every page but the first, the
 * `nextCursor` of the page before as `cursor`.
 */
// SPDX-License-Identifier: Apache-2.0
import { AdminError } from './errors.ts'
import { type AdminAnswer, checkParameters, okList } from './route.ts'

/** Number of items in a page if the caller does not pass `limit`, and the maximum. */
export const PAGE_LIMITS = { default: 100, max: 1000 }

/** Longer than any cursor that this listener creates. */
const MAX_CURSOR_LENGTH = 1024

export interface PageRequest<Key> {
  /** Identifies the list, so that no list accepts the cursor of another one. */
  readonly list: string
  /** The key of the last item on the page before; undefined for the first page. */
  readonly after: Key | undefined
  /** Number of items to load: one more than the page has, which shows whether another follows. */
  readonly count: number
}

/**
 * Parses the query of a list.
 * @param list identifies the list, including what its path selects
 * @param parseKey returns undefined for a text that is not the key of an item
 * @throws AdminError INPUT_INVALID
 */
export function parsePage<Key>(
  query: URLSearchParams,
  list: string,
  parseKey: (text: string) => Key | undefined,
): PageRequest<Key> {
  checkParameters(query, ['limit', 'cursor'])
  const cursor = query.get('cursor')
  const after = cursor === null ? undefined : parseCursor(cursor, list, parseKey)
  return { list, after, count: parseLimit(query.get('limit')) + 1 }
}

function parseLimit(text: string | null): number {
  if (text === null) return PAGE_LIMITS.default
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (limit >= 1 && limit <= PAGE_LIMITS.max) return limit
  const expected = `a whole number from 1 to ${String(PAGE_LIMITS.max)}`
  throw new AdminError('INPUT_INVALID', `limit: expected ${expected}`)
}

function parseCursor<Key>(
  text: string,
  list: string,
  parseKey: (text: string) => Key | undefined,
): Key {
  const bytes = Buffer.from(text.slice(0, MAX_CURSOR_LENGTH), 'base64url')
  const [found, key] = parseParts(bytes.toString('utf8'))
  const parsed = typeof key === 'string' && found === list ? parseKey(key) : undefined
  // The second condition refuses every text that is merely similar to a cursor.
  if (parsed !== undefined && text === toCursor(list, String(key))) return parsed
  throw new AdminError('INPUT_INVALID', 'cursor: expected the nextCursor of a page of this list', {
    hint: 'omit cursor to start with the first page',
  })
}

function parseParts(text: string): readonly unknown[] {
  try {
    const parts: unknown = JSON.parse(text)
    return Array.isArray(parts) ? parts : []
  } catch {
    return []
  }
}

function toCursor(list: string, key: string): string {
  return Buffer.from(JSON.stringify([list, key])).toString('base64url')
}

/**
 * Returns a response with one page of a list.
 * @param name field of the response that contains the items
 * @param found up to `count` items after `after`, in the order of the list
 * @param keyOf returns the key of an item, which must be unique in the list
 * @param fields further fields of the response
 */
export function okPage<Item>(
  name: string,
  { list, count }: Pick<PageRequest<unknown>, 'list' | 'count'>,
  found: readonly Item[],
  keyOf: (item: Item) => string,
  fields: Readonly<Record<string, unknown>> = {},
): AdminAnswer {
  const items = found.slice(0, count - 1)
  const last = items.at(-1)
  const isLast = last === undefined || found.length < count
  return okList(name, items, {
    ...fields,
    ...(!isLast && { nextCursor: toCursor(list, keyOf(last)) }),
  })
}

/**
 * Returns the items of a page from a list that is in memory, in ascending order of their keys by
 * UTF-16 code units. For short lists only, because it sorts the whole list for each page.
 */
export function takePage<Item>(
  { after, count }: PageRequest<string>,
  items: readonly Item[],
  keyOf: (item: Item) => string,
): readonly Item[] {
  return items
    .map((item) => ({ item, key: keyOf(item) }))
    .filter(({ key }) => after === undefined || key > after)
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .slice(0, count)
    .map(({ item }) => item)
}
