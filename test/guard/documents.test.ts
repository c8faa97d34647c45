/** Documents say what the code does: tables, links, and what must never stand in a file. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parse } from 'yaml'
import { toExitCode } from '../../src/cli/exit-codes.ts'
import { LINE_SCHEMA } from '../../src/observability/request-log.ts'
import { REDACTED_PATHS } from '../../src/observability/log.ts'
import { BACKEND_ERRORS } from '../../src/xks/error-map.ts'
import { XKS_ERRORS, type XksErrorRow } from '../../src/xks/errors.ts'
import { STAGES } from '../../src/core/request.ts'
import { listFiles, read, section, tableRows } from '../support/repository.ts'
import { loadSources } from '../support/source.ts'
import { findCodes, findLogMessages, findReasons } from '../support/spoken.ts'

const SRC = loadSources('src')
const ERRORS = read('docs/errors.md')
const LOGGING = read('docs/logging.md')

/** Body rows of the first table below a heading, without the backticks around a cell. */
function rowsOf(document: string, heading: string): readonly (readonly string[])[] {
  const [, ...rows] = tableRows(section(document, heading))
  return rows.map((cells) => cells.map((cell) => /^`([^`]+)`$/.exec(cell)?.[1] ?? cell))
}

void t.test("docs/errors.md and openapi.yaml have the table of KMS's errors", (t) => {
  const rows = rowsOf(ERRORS, '## What KMS is told')
  const expected = Object.entries<XksErrorRow>(XKS_ERRORS).map(([name, { status, operations }]) => [
    name,
    String(status),
    operations.length === 4 ? 'all' : operations.join(', '),
  ])
  t.same(
    rows.map((cells) => cells.slice(0, 3)),
    expected,
  )
  for (const [name = '', , , when = '', todo = ''] of rows) t.ok(when !== '' && todo !== '', name)
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

void t.test(
  'docs/errors.md has every code of a key manager, its name for KMS, its sentence',
  (t) => {
    const sentences = findCodes(SRC, 'BackendErrorCode')
    t.same(
      rowsOf(ERRORS, '## Codes of key managers').map((cells) => cells.slice(0, 3)),
      Object.entries(BACKEND_ERRORS).map(([code, name]) => [code, name, sentences.get(code)]),
    )
    t.same([...sentences.keys()], Object.keys(BACKEND_ERRORS))
    t.end()
  },
)

void t.test('docs/errors.md has every code of a signature, and its sentence', (t) => {
  const sentences = findCodes(SRC, 'SignatureErrorCode')
  t.ok(sentences.size >= 14)
  t.same(
    rowsOf(ERRORS, '## Codes of signatures').map((cells) => cells.slice(0, 2)),
    [...sentences],
  )
  t.end()
})

void t.test('docs/errors.md has every code of the gate, and its sentence', (t) => {
  const sentences = findCodes(SRC, 'GateErrorCode')
  t.ok(sentences.size >= 11)
  t.same(
    rowsOf(ERRORS, '## Codes of the gate').map((cells) => cells.slice(0, 2)),
    [...sentences],
  )
  t.end()
})

void t.test('docs/errors.md has every code of a forwarded certificate, and its sentence', (t) => {
  const sentences = findCodes(SRC, 'ForwardedErrorCode')
  t.equal(sentences.size, 5)
  t.same(
    rowsOf(ERRORS, '## Codes of forwarded certificates').map((cells) => cells.slice(0, 2)),
    [...sentences],
  )
  t.end()
})

void t.test('docs/errors.md has every other reason that a request line can name', (t) => {
  const named = findReasons(SRC.filter(({ path }) => !path.endsWith('client-certificate.ts')))
  const own = named.filter((reason) => !(reason in BACKEND_ERRORS))
  t.same(
    rowsOf(ERRORS, '## Other reasons')
      .map(([reason]) => reason)
      .sort(),
    [...own].sort(),
  )
  const refusals = findReasons(SRC.filter(({ path }) => path.endsWith('client-certificate.ts')))
  t.ok(refusals.length >= 2)
  const documented = section(ERRORS, '## Connections that were refused')
  for (const reason of refusals) t.match(documented, `\`${reason}\``)
  t.end()
})

void t.test('docs/sigv4.md has every code of the verifier', (t) => {
  const documented = rowsOf(read('docs/sigv4.md'), '## What a refusal says').map(([code]) => code)
  t.same(documented.sort(), [...findCodes(SRC, 'SignatureErrorCode').keys()].sort())
  t.end()
})

void t.test('docs/errors.md has every code of the command line, and its exit code', (t) => {
  const codes = new Map([
    ...findCodes(SRC, 'StorageErrorCode'),
    ...findCodes(SRC, 'TlsErrorCode'),
    ...findCodes(SRC, 'CredentialErrorCode'),
    ...findCodes(SRC, 'ControlErrorCode'),
    ...findCodes(SRC, 'EndpointErrorCode'),
    ...findCodes(SRC, 'RegistrationErrorCode'),
    ...findCodes(SRC, 'SimulationErrorCode'),
  ])
  const inline = SRC.flatMap(({ text }) => [
    ...text.matchAll(/LatchkeyError(?:<|\()((?:'[A-Z_]+'(?: \| )?)+)/g),
  ]).flatMap(([, union = '']) => union.match(/[A-Z_]+/g) ?? [])
  const rows = rowsOf(ERRORS, '## Codes of the command line and of the start')
  t.same(rows.map(([code]) => code).sort(), [...codes.keys(), ...inline].sort())
  for (const [code = '', exit, meaning] of rows) {
    t.equal(exit, String(toExitCode({ code })), `the exit code of ${code}`)
    if (codes.has(code)) t.equal(meaning, codes.get(code))
  }
  t.end()
})

void t.test('docs/logging.md has every field of a request line, in order', (t) => {
  t.same(
    rowsOf(LOGGING, '## The request line').map(([field]) => field),
    Object.keys(LINE_SCHEMA.properties),
  )
  t.same(
    rowsOf(LOGGING, '### Stages').map(([stage]) => stage),
    [...STAGES],
  )
  for (const name of REDACTED_PATHS)
    t.match(section(LOGGING, '## What is never logged'), `\`${name}\``)
  t.end()
})

void t.test('docs/logging.md has every message of the log', (t) => {
  const messages = findLogMessages(SRC)
  t.ok(messages.length >= 10, `${String(messages.length)} messages`)
  t.same(
    rowsOf(LOGGING, '## Every message')
      .map(([message]) => message)
      .sort(),
    [...messages].sort(),
  )
  t.end()
})

void t.test('docs/dependencies.md has every dependency, where it belongs, and no other', (t) => {
  const project = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  const document = read('docs/dependencies.md')
  for (const [heading, group] of [
    ['## What the program needs', 'dependencies'],
    ['## What the program can do without', 'optionalDependencies'],
    ['## What development needs', 'devDependencies'],
    ['## Overrides', 'overrides'],
  ] as const) {
    const names = Object.keys(project[group] ?? {})
    const rows = rowsOf(document, heading)
    t.same(rows.map(([name]) => name).sort(), [...names].sort(), heading)
    for (const cells of rows) t.ok(!cells.includes(''), `${cells[0] ?? ''} has no empty cell`)
    for (const [name, version] of Object.entries(project[group] ?? {}))
      t.match(version, /^\d+\.\d+\.\d+$/, `${name} is pinned`)
  }
  t.end()
})

void t.test('no file holds a private key, a place of this machine or a package registry', (t) => {
  // Joined here, so that this file does not hold them either.
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
