/** Follows the pages of the admin listener's lists. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { type Call, call, type Reply, token } from './admin.ts'
import type { TestServer } from './server.ts'

export type Item = Readonly<Record<string, unknown>>

const ADMIN = { token: token('admin') }

/** Returns the responses with the pages of a list. */
export async function follow(
  server: TestServer,
  path: string,
  limit: number,
  as: Pick<Call, 'token'> = ADMIN,
) {
  const pages: Reply[] = []
  let more = ''
  for (;;) {
    const page = await call(server, 'GET', `${path}?limit=${String(limit)}${more}`, as)
    pages.push(page)
    const { nextCursor } = page.body
    if (typeof nextCursor !== 'string') return pages
    more = `&cursor=${nextCursor}`
  }
}

export const itemsOf = (pages: readonly Reply[], field: string) =>
  pages.flatMap(({ body }) => body[field] as readonly Item[])

/** Checks that pages of two items contain the same as one page with the whole list. */
export async function checkPages(t: Test, server: TestServer, path: string, field: string) {
  const whole = await follow(server, path, 1000)
  t.equal(whole.length, 1, path)
  const pages = await follow(server, path, 2)
  const items = itemsOf(whole, field)
  t.ok(items.length >= 3, `${path}: ${String(items.length)} items`)
  t.equal(pages.length, Math.ceil(items.length / 2))
  for (const { status, body } of pages) {
    t.equal(status, 200)
    t.ok((body[field] as readonly Item[]).length <= 2)
  }
  t.same(itemsOf(pages, field), items, `${path}: the pages contain the list`)
}
