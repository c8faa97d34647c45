// Generates the tables in docs/errors.md, docs/logging.md and docs/metrics.md from the code. The columns with
// instructions for readers are written by hand and preserved.
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { ROOT } from './process.mjs'
import { replaceSection, sectionOf } from './sections.mjs'

/** Imports a module from the build, because the program itself provides the tables. */
const built = (path) => import(new URL(`../dist/src/${path}`, import.meta.url))
const code = (name) => `\`${name}\``

/** @returns {{ path: string, text: string }[]} the files in src/, ordered by path */
function readSources() {
  return readdirSync(join(ROOT, 'src'), { recursive: true })
    .filter((path) => path.endsWith('.ts'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(ROOT, 'src', path), 'utf8') }))
}

/**
 * Returns the codes in a union such as `BackendErrorCode`, each with its trailing comment.
 * @throws if no file declares the union
 */
function findCodes(sources, union) {
  const declaration = new RegExp(`type ${union} =\\n((?: {2}\\| '[A-Z_]+'.*\\n)+)`)
  const body = sources.map(({ text }) => declaration.exec(text)?.[1]).find(Boolean)
  if (body === undefined) throw new Error(`No file of src/ declares the type ${union}.`)
  return body
    .trimEnd()
    .split('\n')
    .map((line) => /\| '([A-Z_]+)'(?: \/\/ (.*))?$/.exec(line)?.slice(1, 3) ?? [])
}

/** Returns every constant passed as `reason: '…'`. */
function findReasons(sources) {
  const all = sources.flatMap(({ text }) => [...text.matchAll(/\breason: '([A-Z_]+)'/g)])
  return [...new Set(all.map(([, reason]) => reason))]
}

/**
 * Returns codes that are declared where they are thrown, as in `new LatchkeyError('USAGE', …)` or
 * `LatchkeyError<'USAGE' | …>`.
 */
function findInlineCodes(sources) {
  return sources
    .flatMap(({ text }) => [...text.matchAll(/LatchkeyError(?:<|\()((?:'[A-Z_]+'(?: \| )?)+)/g)])
    .flatMap(([, union]) => union.match(/[A-Z_]+/g))
}

const LEVELS = new Set(['debug', 'info', 'warn', 'error'])

/** Returns the messages from calls such as `logger.info('…', fields)`, and from `msg: '…'`. */
function findLogMessages(sources) {
  const messages = new Set()
  for (const { path, text } of sources) {
    const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true)
    const visit = (node) => {
      if (ts.isPropertyAssignment(node) && node.name.getText(tree) === 'msg') {
        if (ts.isStringLiteral(node.initializer)) messages.add(node.initializer.text)
      } else if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
        const { name, expression } = node.expression
        if (LEVELS.has(name.text) && /(?:^|\.)logger$/.test(expression.getText(tree)))
          node.arguments.filter(ts.isStringLiteral).forEach((one) => messages.add(one.text))
      }
      ts.forEachChild(node, visit)
    }
    visit(tree)
  }
  return [...messages]
}

/**
 * Rewrites a table's rows. A cell that is `undefined` is written by hand and keeps its text.
 * @param {{ name: string, rows: (string | undefined)[][], keepsOrder?: boolean }} table the first cell of a row is its
 * key; `keepsOrder` preserves the document's row order and appends new rows
 * @returns the new document
 * @throws if a cell that must be written by hand is empty
 */
function fillTable(document, { name, rows, keepsOrder = false }) {
  const [head, rule, ...body] = sectionOf(document, name).trim().split('\n')
  const width = head.split('|').length - 2
  const before = new Map(
    body.map((line) => {
      const cells = line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim())
      return [cells[0], cells]
    }),
  )
  const filled = rows.map(([key, ...cells]) => {
    const known = before.get(key) ?? []
    return Array.from({ length: width }, (_, i) =>
      i === 0 ? key : (cells[i - 1] ?? known[i] ?? ''),
    )
  })
  if (keepsOrder) {
    const place = new Map([...before.keys()].map((key, i) => [key, i]))
    filled.sort(([a], [b]) => (place.get(a) ?? Infinity) - (place.get(b) ?? Infinity) || 0)
  }
  const empty = filled.find((cells) => !before.has(cells[0]) && cells.includes(''))
  if (empty !== undefined)
    throw new Error(
      `Write the row of ${empty[0]} in the table ${name}: what a person should do about it.`,
    )
  const lines = filled.map((cells) => `| ${cells.join(' | ')} |`)
  return replaceSection(document, name, [head, rule, ...lines, ''].join('\n'))
}

const fillTables = (document, tables) => tables.reduce(fillTable, document)

/** @param document the text of docs/errors.md */
export async function fillErrors(document) {
  const sources = readSources()
  const { XKS_ERRORS } = await built('xks/errors.js')
  const { BACKEND_ERRORS } = await built('xks/error-map.js')
  const { toExitCode } = await built('cli/exit-codes.js')
  const codes = (union) => findCodes(sources, union)
  const ofUnion = (name, union) => ({
    name,
    rows: codes(union).map(([one, meaning]) => [code(one), meaning]),
  })
  const commandLine = [
    ...findInlineCodes(sources).map((one) => [one]),
    ...['StorageErrorCode', 'TlsErrorCode', 'CredentialErrorCode', 'ControlErrorCode'].flatMap(
      codes,
    ),
    ...codes('PolicyErrorCode'),
    ...codes('OperatorErrorCode'),
    ...codes('AdminCallErrorCode'),
    ...codes('LoginErrorCode'),
    ...codes('AuditErrorCode'),
    ...codes('WebhookErrorCode'),
    ...codes('RetirementErrorCode'),
    ...['EndpointErrorCode', 'RegistrationErrorCode', 'SimulationErrorCode'].flatMap(codes),
  ]
  const isOfConnection = ({ path }) => path.endsWith('client-certificate.ts')
  return fillTables(document, [
    {
      name: 'kms-errors',
      rows: Object.entries(XKS_ERRORS).map(([one, { status, operations }]) => [
        code(one),
        String(status),
        operations.length === 4 ? 'all' : operations.join(', '),
      ]),
    },
    {
      name: 'key-manager-codes',
      rows: codes('BackendErrorCode').map(([one, meaning]) => [
        code(one),
        code(BACKEND_ERRORS[one]),
        meaning,
      ]),
    },
    ofUnion('gate-codes', 'GateErrorCode'),
    ofUnion('policy-codes', 'DenialReason'),
    ofUnion('signature-codes', 'SignatureErrorCode'),
    ofUnion('forwarded-codes', 'ForwardedErrorCode'),
    {
      name: 'other-reasons',
      keepsOrder: true,
      rows: findReasons(sources.filter((one) => !isOfConnection(one)))
        .filter((reason) => !(reason in BACKEND_ERRORS))
        .map((reason) => [code(reason)]),
    },
    {
      name: 'command-line-codes',
      keepsOrder: true,
      rows: [...new Map(commandLine)].map(([one, meaning]) => [
        code(one),
        String(toExitCode({ code: one })),
        meaning,
      ]),
    },
  ])
}

/** @param document the text of docs/logging.md */
export async function fillLogging(document) {
  const { LINE_SCHEMA } = await built('observability/request-log.js')
  const { STAGES } = await built('core/request.js')
  const keys = (names) => names.map((name) => [code(name)])
  return fillTables(document, [
    { name: 'request-fields', rows: keys(Object.keys(LINE_SCHEMA.properties)) },
    { name: 'stages', rows: keys(STAGES) },
    { name: 'messages', rows: keys(findLogMessages(readSources())), keepsOrder: true },
  ])
}

/** @param document the text of docs/metrics.md */
export async function fillMetrics(document) {
  const { METRICS } = await built('observability/metrics/catalogue.js')
  const rows = Object.entries(METRICS).map(([name, { type, labels, help, aggregator }]) => [
    code(name),
    type,
    undefined,
    labels.length === 0 ? 'none' : labels.map(code).join(', '),
    help,
    aggregator,
  ])
  return fillTables(document, [{ name: 'our-metrics', rows }])
}
