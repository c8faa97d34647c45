/** Reads the lists of the admin listener page by page. */
// SPDX-License-Identifier: Apache-2.0
import { AdminCallError } from './http.ts'

/** Number of items to ask for: the listener's maximum, which saves requests. */
const LIMIT = 1000

export interface PageQuery {
  readonly limit: number
  readonly cursor: string | undefined
}

/**
 * Returns all pages in their order. A listener of a release without pages returns the whole list at
 * once.
 * @param load sends the request for one page
 * @throws AdminCallError ADMIN_ANSWER_INVALID if a page names an
 * earlier one as the next, and the errors of `load`
 */
export async function loadPages<Page extends { readonly nextCursor?: string }>(
  load: (query: PageQuery) => Promise<Page>,
): Promise<readonly Page[]> {
  const pages: Page[] = []
  const seen = new Set<string>()
  let cursor: string | undefined
  for (;;) {
    const page: Page = await load({ limit: LIMIT, cursor })
    pages.push(page)
    cursor = page.nextCursor
    if (cursor === undefined) return pages
    if (seen.has(cursor)) {
      const message = 'expected the cursor of another page, found an earlier one'
      throw new AdminCallError('ADMIN_ANSWER_INVALID', message)
    }
    seen.add(cursor)
  }
}
