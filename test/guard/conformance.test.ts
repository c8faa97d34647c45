/** Checks that docs/internals/conformance.md names the code and the test of each requirement, and no test names another. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import ts from 'typescript'
import { exists, read, tableRows } from '../support/repository.ts'
import { loadSources, nodesOf, type Source } from '../support/source.ts'

interface Requirement {
  readonly id: string
  readonly where: string
  readonly test: string
}

const REQUIREMENTS: readonly Requirement[] = tableRows(read('docs/internals/conformance.md'))
  .filter(([id = '']) => /^[A-Z0-9]+-\d+$/.test(id))
  .map(([id = '', , , where = '', test = '']) => ({ id, where, test }))

/**
 * Maps each test file to the ids in its test names. The checks of the key backend contract live in src/, and count as
 * well.
 */
const TESTED = new Map(
  [...loadSources('test'), ...loadSources('src/keys/suite')]
    .filter(({ path }) => !path.startsWith('test/guard/'))
    .map((source) => [
      source.path.replace(/^test\//, '').replace(/^src\/keys\/suite\//, 'contract/'),
      findRequirementIds(source),
    ]),
)

const codeSpans = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, span = '']) => span)

void t.test('the table is read, and no id occurs twice', (t) => {
  const ids = REQUIREMENTS.map(({ id }) => id)
  t.ok(ids.length >= 50, `${String(ids.length)} requirements`)
  t.equal(new Set(ids).size, ids.length)
  t.end()
})

void t.test('each requirement has a test of its name in the file that the table says', (t) => {
  for (const { id, test } of REQUIREMENTS) {
    const named = codeSpans(test)
    t.ok(named.length > 0, `${id} names a test`)
    for (const place of named) {
      const files = [...TESTED].filter(([path]) =>
        place.endsWith('/') ? path.startsWith(place) : path === place,
      )
      t.ok(
        files.some(([, ids]) => ids.has(id)),
        `[${id}] is in the name of a test in test/${place}`,
      )
    }
  }
  t.end()
})

void t.test('each id in the name of a test is in the table', (t) => {
  const known = new Set(REQUIREMENTS.map(({ id }) => id))
  const unknown = [...TESTED].flatMap(([path, ids]) =>
    [...ids].filter((id) => !known.has(id)).map((id) => `${path}: [${id}]`),
  )
  t.same(unknown, [])
  t.end()
})

void t.test('each place in the code that the table names exists', (t) => {
  const missing = REQUIREMENTS.flatMap(({ id, where }) =>
    codeSpans(where)
      .filter((place) => !exists(place) && !exists(`src/${place}`))
      .map((place) => `${id}: ${place}`),
  )
  t.same(missing, [])
  t.end()
})

/** Returns ids such as `ENC-7` from texts that start with one or more of them, as `[ENC-7]`. */
function findRequirementIds(source: Source): ReadonlySet<string> {
  const texts = nodesOf(source.tree).flatMap((node) =>
    ts.isStringLiteralLike(node) || ts.isTemplateHead(node) ? [node.text] : [],
  )
  const starts = texts.map((text) => /^(?:\[[A-Z0-9]+-\d+\] ?)+/.exec(text)?.[0] ?? '')
  return new Set(starts.flatMap((start) => start.match(/[A-Z0-9]+-\d+/g) ?? []))
}
