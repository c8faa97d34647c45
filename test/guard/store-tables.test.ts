/**
 * Checks that `store rekey --new-store-key` misses nothing: every table and column that the migrations create is
 * resealed, or is listed here with the reason why not.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import ts from 'typescript'
import type { Row } from '../../src/store/database.ts'
import {
  CODED_TABLES,
  materialContext,
  factContext,
  PURPOSE_KEY,
  RECEIPT_KEY,
  secretContext,
  wrappedColumn,
} from '../../src/store/bindings.ts'
import {
  CREDENTIALS,
  FACTS,
  KEY_VERSIONS,
  SEALED_TABLES,
  type SealedTable,
} from '../../src/store/sealed-tables.ts'
import { loadSources, nodesOf } from '../support/source.ts'
import { schemaColumns } from '../support/tamperings.ts'

const SCHEMA = schemaColumns()

/** Tables without a seal or a per-row MAC, each with the reason. */
const OTHERS: Readonly<Record<string, string>> = {
  control_events: 'a chain, which event-log.ts codes again from its start',
  instances: 'each instance writes its own row again, with the newest key, four times a second',
  activity_subjects: 'no code: counts of usage decide nothing',
  activity: 'no code: counts of usage decide nothing',
  credential_uses: 'no code: counts of usage decide nothing',
  admin_token_uses: 'no code: counts of usage decide nothing',
  version_uses: 'no code: the waiting period of a retirement reveals users that it lacks',
  ledger_writers: 'no code: it belongs to version_uses',
}

/** Columns of MAC-protected tables that the MAC does not cover. */
const UNCODED: Readonly<Record<string, readonly string[]>> = {
  // Changing these columns can only delay messages or send them twice.
  webhooks: ['claimed_until', 'owner'],
}

void t.test('every table is sealed, has a MAC, or is listed with a reason', (t) => {
  const known = [...SEALED_TABLES, ...CODED_TABLES].map(({ name }) => name)
  t.strictSame([...known, ...Object.keys(OTHERS)].toSorted(), [...SCHEMA.keys()].toSorted())
  t.equal(new Set(known).size, known.length, 'no table is in both lists')
  t.end()
})

const namesOf = (table: string) => (SCHEMA.get(table) ?? []).map(({ name }) => name).toSorted()

void t.test('the MACs cover every column', (t) => {
  for (const { name, key, columns } of SEALED_TABLES) {
    t.strictSame([...key, ...columns, 'changed_epoch', 'mac'].toSorted(), namesOf(name), name)
  }
  for (const { name, key, columns, fields } of CODED_TABLES) {
    const uncoded = UNCODED[name] ?? []
    t.strictSame([...key, ...columns, 'mac', ...uncoded].toSorted(), namesOf(name), name)
    const row = sample(name)
    for (const changed of [...key, ...columns]) {
      const other = { ...row, [changed]: typeof row[changed] === 'number' ? 99 : 'other' }
      t.strictNotSame(fields(other), fields(row), `${name}.${changed}`)
    }
  }
  t.end()
})

function sample(table: string): Row {
  const columns = SCHEMA.get(table) ?? []
  return Object.fromEntries(columns.map(({ name, isNumber }) => [name, isNumber ? 7 : name]))
}

/** Maps each file that calls `Sealing.wrap` to the function that returns the secret's context. */
const WRAPPING: Readonly<Record<string, string>> = {
  'src/keys/software/key-table.ts': 'materialContext',
  'src/sigv4/credential-table.ts': 'secretContext',
  'src/store/rekey.ts': 'factContext',
  // This file wraps the secret that wrappedColumn finds in each row.
  'src/store/resealing.ts': 'context',
  // Every change reseals the state with the current key.
  'src/store/sealed-state.ts': 'contextOf',
  // This file delegates to the sealing of one store key.
  'src/store/combined-sealing.ts': 'context',
}

/** Maps each file that calls `Sealing.authenticate` to the MAC's purpose. */
const CODING: Readonly<Record<string, string>> = {
  'src/keys/software/use-table.ts': 'key_uses',
  'src/store/epochs.ts': 'epochs',
  'src/observability/webhooks/cursor.ts': 'webhooks',
  'src/store/event-log.ts': 'control_events',
  'src/store/resealing.ts': 'the tables of CODED_TABLES',
  'src/store/combined-sealing.ts': 'passes the call on to one of its keys',
  'src/store/upgrade.ts': 'rows of an earlier schema, before they are sealed as those of this one',
}

/**
 * Maps each file that calls the given `Sealing` method to the first arguments of its calls. Skips methods of master
 * keys.
 */
function callsOf(method: string): ReadonlyMap<string, ReadonlySet<string>> {
  const found = new Map<string, Set<string>>()
  for (const { path, tree } of loadSources('src')) {
    for (const node of nodesOf(tree)) {
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) continue
      const { name, expression } = node.expression
      const owner = expression.getText(tree)
      if (name.text !== method || !/sealing|turned|writing\(\)|newest\(\)/i.test(owner)) continue
      const [first] = node.arguments
      const bound = first === undefined ? '' : first.getText(tree).replace(/\(.*/s, '')
      found.set(path, (found.get(path) ?? new Set()).add(bound))
    }
  }
  return found
}

void t.test('every wrapped secret is in a column that a rekey rewraps', (t) => {
  const calls = callsOf('wrap')
  t.strictSame(
    Object.fromEntries([...calls].map(([path, bound]) => [path, [...bound].join()])),
    WRAPPING,
    'a new caller needs a case of wrappedColumn',
  )
  const id = 'a store'
  const version = sample(KEY_VERSIONS.name)
  const ofVersion = { keyStore: 'key_store', keyId: 'key_id', version: 7 }
  const credential = sample(CREDENTIALS.name)
  const expected: [SealedTable, Row, string, readonly unknown[]][] = [
    [KEY_VERSIONS, version, 'material', materialContext(ofVersion)],
    [CREDENTIALS, credential, 'secret', secretContext('access_key_id', 'key_store')],
    ...[RECEIPT_KEY, PURPOSE_KEY].map((name): [SealedTable, Row, string, readonly unknown[]] => [
      ...([FACTS, { ...sample(FACTS.name), name }, 'value', factContext(name, id)] as const),
    ]),
  ]
  for (const [table, row, name, context] of expected) {
    t.strictSame(wrappedColumn(table, row, id), { name, context }, `${table.name}.${name}`)
  }
  t.end()
})

void t.test('every MAC outside the sealed tables is in a table that a rekey reseals', (t) => {
  t.strictSame(
    [...callsOf('authenticate').keys()].toSorted(),
    Object.keys(CODING).toSorted(),
    'a new caller needs a table in CODED_TABLES',
  )
  for (const { name } of CODED_TABLES) t.ok(Object.values(CODING).includes(name), name)
  t.end()
})
