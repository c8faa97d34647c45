/**
 * Checks that docs/internals/conformance.md names code and tests for every requirement, and that tests use no other
 * requirement ids.
 */
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
 * Maps each test file, including the key backend contract in src/keys/suite, to the requirement ids in its test names.
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

void t.test('the table is parsed, and no id occurs twice', (t) => {
  const ids = REQUIREMENTS.map(({ id }) => id)
  t.ok(ids.length >= 50, `${String(ids.length)} requirements`)
  t.equal(new Set(ids).size, ids.length)
  t.end()
})

void t.test('each requirement has a test with its id in the file listed in the table', (t) => {
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

void t.test('each id in a test name is in the table', (t) => {
  const known = new Set(REQUIREMENTS.map(({ id }) => id))
  const unknown = [...TESTED].flatMap(([path, ids]) =>
    [...ids].filter((id) => !known.has(id)).map((id) => `${path}: [${id}]`),
  )
  t.same(unknown, [])
  t.end()
})

void t.test('each code location named in the table exists', (t) => {
  const missing = REQUIREMENTS.flatMap(({ id, where }) =>
    codeSpans(where)
      .filter((place) => !exists(place) && !exists(`src/${place}`))
      .map((place) => `${id}: ${place}`),
  )
  t.same(missing, [])
  t.end()
})

/** Returns the requirement ids, such as `ENC-7`, from strings that start with one or more bracketed ids. */
function findRequirementIds(source: Source): ReadonlySet<string> {
  const texts = nodesOf(source.tree).flatMap((node) =>
    ts.isStringLiteralLike(node) || ts.isTemplateHead(node) ? [node.text] : [],
  )
  const starts = texts.map((text) => /^(?:\[[A-Z0-9]+-\d+\] ?)+/.exec(text)?.[0] ?? '')
  return new Set(starts.flatMap((start) => start.match(/[A-Z0-9]+-\d+/g) ?? []))
}
