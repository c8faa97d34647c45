/** Checks hand-written documents against the code, and searches all files for forbidden text. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parse } from 'yaml'
import { REDACTED_PATHS } from '../../src/observability/log.ts'
import { XKS_ERRORS } from '../../src/xks/errors.ts'
import { listFiles, read, section, tableRows } from '../support/repository.ts'
import { loadSources } from '../support/source.ts'

const SRC = loadSources('src')
const ERRORS = read('docs/errors.md')

/** Returns the rows of the first table below a heading, without the backticks around cells. */
function rowsOf(document: string, heading: string): readonly (readonly string[])[] {
  const [, ...rows] = tableRows(section(document, heading))
  return rows.map((cells) => cells.map((cell) => /^`([^`]+)`$/.exec(cell)?.[1] ?? cell))
}

void t.test('openapi.yaml contains the table of KMS errors', (t) => {
  const api = parse(read('openapi.yaml')) as {
    components: {
      schemas: { ErrorResponse: { properties: { errorName: { enum: readonly string[] } } } }
    }
  }
  t.same(
    api.components.schemas.ErrorResponse.properties.errorName.enum,
    Object.keys(XKS_ERRORS),
    'the enum of errorName',
  )
  t.end()
})

void t.test('each code in docs/errors.md has its meaning and what to do about it', (t) => {
  const rows = tableRows(ERRORS)
  t.ok(rows.length > 100, `${String(rows.length)} rows`)
  for (const [code = '', ...cells] of rows) t.ok(!cells.includes(''), code)
  t.end()
})

void t.test('docs/errors.md lists every reason for refusing a connection', (t) => {
  const sources = SRC.filter(({ path }) => path.endsWith('client-certificate.ts'))
  const refusals = sources.flatMap(({ text }) => [...text.matchAll(/\breason: '([A-Z_]+)'/g)])
  t.ok(refusals.length >= 2)
  const documented = section(ERRORS, '## Connections that were refused')
  for (const [, reason = ''] of refusals) t.match(documented, `\`${reason}\``)
  t.end()
})

void t.test('docs/sigv4.md lists every verifier code', (t) => {
  const codes = (document: string, heading: string) =>
    rowsOf(document, heading).map(([code]) => code)
  t.same(
    codes(read('docs/sigv4.md'), '## Refusals').sort(),
    codes(ERRORS, '## Signature codes').sort(),
  )
  t.end()
})

void t.test('docs/logging.md lists every redacted field', (t) => {
  for (const name of REDACTED_PATHS)
    t.match(section(read('docs/logging.md'), '## What is never logged'), `\`${name}\``)
  t.end()
})

void t.test('docs/internals/dependencies.md lists exactly the dependencies', (t) => {
  const project = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  const document = read('docs/internals/dependencies.md')
  for (const [heading, group] of [
    ['## What the program needs', 'dependencies'],
    ['## Optional', 'optionalDependencies'],
    ['## Development', 'devDependencies'],
    ['## Overrides', 'overrides'],
  ] as const) {
    const names = Object.keys(project[group] ?? {})
    const rows = rowsOf(document, heading)
    t.same(rows.map(([name]) => name).sort(), [...names].sort(), heading)
    for (const cells of rows) t.ok(!cells.includes(''), `${cells[0] ?? ''} has no empty cell`)
    for (const [name, version] of Object.entries(project[group] ?? {}))
      t.match(version, /^(?:npm:typescript@)?\d+\.\d+\.\d+$/, `${name} is pinned`)
  }
  t.end()
})

void t.test('no file contains a private key, a local path or a package registry', (t) => {
  // The patterns are assembled from parts so that this file does not match them.
  const forbidden = [
    { what: 'a place of a machine', form: new RegExp(`(?<![\\w.])${['', 'work', ''].join('/')}`) },
    {
      what: 'a private key',
      form: new RegExp(['-----BEGIN [A-Z ]*PRIVATE', 'KEY-----'].join(' ')),
    },
    {
      what: 'a package registry',
      form: /\b(?:registry|npm|pypi|artifactory|nexus)\.[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b/,
    },
  ]
  const files = listFiles()
  t.ok(files.length > 150, `${String(files.length)} files`)
  for (const { what, form } of forbidden) {
    const found = files.flatMap((path) => {
      const line = read(path)
        .split('\n')
        .findIndex((text) => form.test(text))
      return line < 0 ? [] : [`${path}:${String(line + 1)}`]
    })
    t.same(found, [], what)
  }
  t.notMatch(read('package-lock.json'), /"resolved"/, 'the lockfile names no host')
  t.end()
})
