/** Tests that each process gives a prepared statement the same name, because a pooler shares sessions among processes. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type * as Statements from '../../../src/store/postgres/statements.ts'

/** Loads the module again, as another process would. */
async function load(process: string): Promise<typeof Statements> {
  const url = new URL('../../../src/store/postgres/statements.js', import.meta.url)
  return (await import(`${url.href}?${process}`)) as typeof Statements
}

void t.test('names depend on the statement, and not on the order of first use', async (t) => {
  const [one, other] = [await load('one'), await load('other')]
  t.not(one.toPlanName, other.toPlanName)
  const texts = Array.from({ length: 1500 }, (_, i) => `SELECT ${String(i)}`)
  const nameOf = (module: typeof Statements, text: string) => module.toPlanName(text, [])
  const names = new Map(texts.map((text) => [text, nameOf(one, text)]))
  for (const text of texts.reverse()) t.equal(nameOf(other, text), names.get(text), text)
  t.equal(new Set(names.values()).size, texts.length, 'each statement has a name of its own')
  for (const name of names.values()) t.match(name, /^latchkey_[0-9a-f]{32}$/)
})

void t.test('the types of the parameters are part of the statement', async (t) => {
  const { toDriverQuery } = await load('types')
  const sql = 'SELECT ?'
  const [number, text] = [toDriverQuery(sql, [1], true), toDriverQuery(sql, ['1'], true)]
  t.not(number.name, text.name)
  t.equal(toDriverQuery(sql, [2], true).name, number.name)
  t.notOk('name' in toDriverQuery(sql, [1], false))
  t.notOk('name' in toDriverQuery(sql, Array<number>(21).fill(1), true))
})

void t.test('lists of any length are translated', async (t) => {
  const { toPostgresSql } = await load('lists')
  for (const length of [1, 20, 21, 1001, 21]) {
    const values = Array.from({ length }, (_, i) => (i % 2 === 0 ? 'a' : 1))
    const marks = values.map((one, i) => `$${String(i + 1)}::${one === 'a' ? 'text' : 'bigint'}`)
    const sql = `SELECT a FROM b WHERE c IN (${values.map(() => '?').join(', ')})`
    t.equal(toPostgresSql(sql, values), `SELECT a FROM b WHERE c IN (${marks.join(', ')})`)
  }
})
