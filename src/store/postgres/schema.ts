/**
 * Finds objects in Latchkey's PostgreSQL schema that no migration created, such as a trigger, which
 * would run inside Latchkey's own transactions.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Transaction } from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'
import { TABLES } from './tables.ts'

/** Instances of an earlier release still read through these views; this release does not. */
const VIEWS = MIGRATIONS.flat().flatMap((sql) => /^CREATE VIEW (\w+)/.exec(sql)?.[1] ?? [])
const toList = (names: readonly string[]) => names.map((name) => `'${name}'`).join(', ')
const OURS = toList([...TABLES.keys()])
const OUR_VIEWS = toList(VIEWS)

/**
 * SQL condition that excludes the objects of an extension such as pg_stat_statements, which CREATE
 * EXTENSION created.
 */
const notOfExtension = (id: string, catalog: string) =>
  `NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = ${id}
     AND d.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass::pg_catalog.oid AND d.deptype = 'e')`

/** Selects the names of the columns in an array or vector of numbers. */
const namesOf = (table: string, numbers: string) =>
  `(SELECT pg_catalog.string_agg(coalesce(n.attname::text, '(expression)'), ', ' ORDER BY u.place)
    FROM pg_catalog.unnest(${numbers}) WITH ORDINALITY u(attnum, place)
    LEFT JOIN pg_catalog.pg_attribute n ON n.attrelid = ${table} AND n.attnum = u.attnum)`

const textIf = (condition: string, text: string) =>
  `CASE WHEN ${condition} THEN '${text}' ELSE '' END`

/**
 * Selects a definition for each column, index and foreign key of the tables `tables`. For any other
 * constraint, selects a definition that no table may have. Reads only the catalogs: the functions
 * that print an index or a constraint fail if REINDEX CONCURRENTLY drops it in the meantime, and
 * those that print an expression or a view wait for a lock on its table, such as that of VACUUM
 * FULL. A default contains no column, so pg_get_expr needs no table.
 */
const DEFINITIONS = `
  SELECT tables.relname, a.attname::text || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
      || ${textIf('a.attcollation <> y.typcollation', ' COLLATE')}
      || ${textIf("a.attgenerated <> '' OR a.attidentity <> ''", ' GENERATED')}
      || ${textIf('a.attnotnull', ' NOT NULL')}
      || CASE WHEN a.attgenerated = '' AND f.adbin IS NOT NULL
           THEN ' DEFAULT ' || pg_catalog.pg_get_expr(f.adbin, 0) ELSE '' END AS definition
    FROM tables JOIN pg_catalog.pg_attribute a ON a.attrelid = tables.oid
    JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT tables.relname, CASE WHEN x.indisprimary THEN 'PRIMARY KEY'
        ELSE ${textIf('x.indisunique', 'UNIQUE ')} || 'INDEX ' || m.amname::text END
      || ' (' || ${namesOf('x.indrelid', 'x.indkey')} || ')'
      || ${textIf('x.indnatts <> x.indnkeyatts', ' INCLUDE')}
      || ${textIf('x.indpred IS NOT NULL', ' WHERE')}
      || ${textIf('NOT x.indimmediate', ' DEFERRABLE')}
      || ${textIf("pg_catalog.to_jsonb(x) ->> 'indnullsnotdistinct' = 'true'", ' NULLS NOT DISTINCT')}
      || ${textIf('0 <> ANY (x.indoption)', ' DESC')}
      || ${textIf(
        // The server computes the array once, but would scan pg_opclass for each index in a join.
        `EXISTS (SELECT 1 FROM pg_catalog.unnest(x.indclass) u(id) WHERE u.id = ANY (ARRAY(
           SELECT o.oid FROM pg_catalog.pg_opclass o WHERE NOT o.opcdefault)))`,
        ' OPERATOR CLASS',
      )}
      || ${textIf(
        `EXISTS (SELECT 1 FROM ROWS FROM (pg_catalog.unnest(x.indkey), pg_catalog.unnest(x.indcollation)) u(attnum, id)
           JOIN pg_catalog.pg_attribute n ON n.attrelid = x.indrelid AND n.attnum = u.attnum
           WHERE u.id <> n.attcollation AND u.id <> '0')`,
        ' COLLATE',
      )}
    FROM tables JOIN pg_catalog.pg_index x ON x.indrelid = tables.oid
    JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
  UNION ALL SELECT tables.relname, 'FOREIGN KEY (' || ${namesOf('k.conrelid', 'k.conkey')} || ') REFERENCES '
      || ${textIf('r.relnamespace <> tables.relnamespace', 'elsewhere.')} || r.relname::text
      || '(' || ${namesOf('k.confrelid', 'k.confkey')} || ')'
      || ${textIf("k.confmatchtype <> 's'", ' MATCH')}
      || ${textIf("k.confupdtype <> 'a'", ' ON UPDATE')}
      || ${textIf("k.confdeltype <> 'a'", ' ON DELETE')}
      || ${textIf('k.condeferrable', ' DEFERRABLE')}
      || ${textIf('NOT k.convalidated', ' NOT VALID')}
      || ${textIf("pg_catalog.to_jsonb(k) ->> 'conenforced' = 'false'", ' NOT ENFORCED')}
    FROM tables JOIN pg_catalog.pg_constraint k ON k.conrelid = tables.oid
    JOIN pg_catalog.pg_class r ON r.oid = k.confrelid WHERE k.contype = 'f'
  UNION ALL SELECT tables.relname, 'CONSTRAINT ' || k.conname::text
    FROM tables JOIN pg_catalog.pg_constraint k ON k.conrelid = tables.oid
    WHERE k.contype NOT IN ('f', 'n', 'p', 'u')`

/**
 * Builds a statement that returns a row with the definitions of each table, as a JSON array, and a
 * row for each object that must not exist.
 */
const selectObjects = (isNewer: boolean) => `
  WITH home AS (SELECT relnamespace AS id, relowner AS owner FROM pg_catalog.pg_class
                WHERE oid = 'facts'::pg_catalog.regclass::pg_catalog.oid),
  relations AS (SELECT c.* FROM pg_catalog.pg_class c, home
                WHERE c.relnamespace = home.id AND ${notOfExtension('c.oid', 'pg_class')}),
  tables AS (SELECT * FROM relations WHERE relkind = 'r'),
  ours AS (SELECT * FROM tables WHERE relname IN (${OURS}))
  SELECT 'definitions' AS kind, i.relname::text AS name,
      pg_catalog.json_agg(i.definition)::text AS text
    FROM (${DEFINITIONS}) i GROUP BY i.relname
  UNION ALL SELECT 'table', tables.relname::text, NULL FROM tables, home
    WHERE tables.relpersistence <> 'p' OR tables.relrowsecurity OR tables.relispartition
       OR tables.relhassubclass OR tables.relowner <> home.owner
       OR EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i
         WHERE i.inhrelid = tables.oid OR i.inhparent = tables.oid)
  UNION ALL SELECT 'table in another schema', c.relname::text, NULL FROM relations c
    WHERE c.relkind IN ('r', 'v') AND NOT pg_catalog.pg_table_is_visible(c.oid)
  UNION ALL ${isNewer ? LATER_RELATIONS : FOREIGN_RELATIONS}
  UNION ALL SELECT 'trigger', t.tgname::text, NULL FROM pg_catalog.pg_trigger t, relations c
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
  UNION ALL SELECT 'rule', r.rulename::text, NULL FROM pg_catalog.pg_rewrite r, relations c
    WHERE r.ev_class = c.oid AND NOT (c.relkind = 'v' AND r.rulename = '_RETURN')
  UNION ALL SELECT 'policy', p.polname::text, NULL FROM pg_catalog.pg_policy p, relations c
    WHERE p.polrelid = c.oid
  UNION ALL SELECT 'function', p.proname::text, NULL FROM pg_catalog.pg_proc p, home
    WHERE p.pronamespace = home.id AND ${notOfExtension('p.oid', 'pg_proc')}
  UNION ALL SELECT 'operator', o.oprname::text, NULL FROM pg_catalog.pg_operator o, home
    WHERE o.oprnamespace = home.id AND ${notOfExtension('o.oid', 'pg_operator')}
  UNION ALL SELECT 'event trigger', e.evtname::text, NULL FROM pg_catalog.pg_event_trigger e
    WHERE e.evtenabled <> 'D' AND ${notOfExtension('e.oid', 'pg_event_trigger')}
  UNION ALL SELECT 'search_path', s.name, NULL FROM (
      SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))::text AS name) s
    WHERE s.name = 'pg_catalog'`

/** This release reads no view, so a view of a known name can be anything. */
const FOREIGN_RELATIONS = `SELECT 'relation', c.relname::text, NULL FROM relations c
    WHERE c.oid NOT IN (SELECT oid FROM ours)
      AND NOT (c.relkind = 'v' AND c.relname IN (${OUR_VIEWS}))
      AND NOT (c.relkind = 'i' AND EXISTS (SELECT 1 FROM pg_catalog.pg_index x, ours
        WHERE x.indexrelid = c.oid AND x.indrelid = ours.oid))`
/** After a later release has renamed a table, this release may reach it through a view. */
const LATER_RELATIONS = `
    SELECT 'view', relname::text, pg_catalog.pg_get_viewdef(oid) FROM relations WHERE relkind = 'v'
  UNION ALL SELECT 'relation', relname::text, NULL FROM relations WHERE relkind NOT IN ('r', 'i', 'v')`

const OBJECTS = selectObjects(false)
const LATER_OBJECTS = selectObjects(true)

/**
 * Matches a column, constraint or index definition that cannot run code. A later schema may add
 * such definitions.
 */
const PASSIVE =
  /^(?:\w+ (?:text|bigint|integer)(?: NOT NULL)?(?: DEFAULT (?:'[^']*'::text|\d+))?|(?:PRIMARY KEY|(?:UNIQUE )?INDEX btree) \([\w, ]+\)|FOREIGN KEY \([\w, ]+\) REFERENCES \w+\([\w, ]+\))$/
/** Matches a view that only renames a table. */
const PASSIVE_VIEW = /^\s*SELECT [\w.,\s]+ FROM \w+;$/

/** @throws StorageError STORE_TAMPERED */
export async function checkPostgresSchema(reader: Reader): Promise<void> {
  const [row] = await reader.query('SELECT max(version) AS version FROM latchkey_schema')
  // A later release may change the schema while this process is running, but must not add objects
  // that run code.
  const isNewer = Number(row?.['version']) > MIGRATIONS.length
  const rows = await reader.query(isNewer ? LATER_OBJECTS : OBJECTS)
  const found = new Map<string, ReadonlySet<string>>()
  for (const { kind, name, text } of rows) {
    if (kind === 'definitions') {
      found.set(String(name), new Set(JSON.parse(String(text)) as string[]))
    } else if (kind === 'view') {
      if (!PASSIVE_VIEW.test(String(text))) throw foreign('view', String(name))
    } else throw foreign(String(kind), String(name))
  }
  if (isNewer) checkPassive(found)
  else for (const [table, expected] of TABLES) checkTable(table, expected, found.get(table))
}

function checkPassive(found: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [table, definitions] of found) {
    for (const definition of definitions) {
      if (!PASSIVE.test(definition)) throw foreign('definition', `${table}: ${definition}`)
    }
  }
}

/** Checks that a table has exactly the columns, constraints and indexes of the migrations. */
function checkTable(
  table: string,
  expected: ReadonlySet<string>,
  found: ReadonlySet<string> = new Set(),
): void {
  for (const definition of found) {
    // REINDEX CONCURRENTLY keeps a second copy of an index for a while, which is harmless.
    const key = definition.replace(/^UNIQUE INDEX btree/, 'PRIMARY KEY')
    if (!expected.has(key)) throw foreign('column, constraint or index', `${table}: ${definition}`)
  }
  for (const definition of expected) {
    if (found.has(definition)) continue
    throw new StorageError(
      'STORE_TAMPERED',
      `the database lacks a column, constraint or index of the table ${table}: ${definition}`,
      { hint: 'restore the store from a backup' },
    )
  }
}

function foreign(kind: string, name: string): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `the database has a ${kind} that Latchkey did not create: ${name}`,
    {
      hint: 'find out the purpose of this object, and drop the object if possible; Latchkey does not share its schema with other programs',
    },
  )
}

export async function isMigrated(reader: Reader): Promise<boolean> {
  return (await hasSchema(reader)) && (await readVersion(reader)) === MIGRATIONS.length
}

/**
 * Runs all migrations that the database lacks.
 * @throws StorageError STORE_NEWER
 */
export async function migrateSchema(transaction: Transaction): Promise<void> {
  // CREATE TABLE IF NOT EXISTS would require the right to create tables, which a serving-only role
  // lacks.
  if (!(await hasSchema(transaction))) {
    await transaction.execute('CREATE TABLE latchkey_schema (version INTEGER NOT NULL)')
  }
  const found = await readVersion(transaction)
  const version = found ?? 0
  if (version > MIGRATIONS.length) {
    throw new StorageError(
      'STORE_NEWER',
      `the store has schema version ${String(version)}; this release supports up to ${String(MIGRATIONS.length)}`,
      { hint: 'use the release that wrote the store, or a later release' },
    )
  }
  for (const step of MIGRATIONS.slice(version)) {
    for (const sql of step) await transaction.execute(sql)
  }
  if (found === undefined) {
    await transaction.execute('INSERT INTO latchkey_schema (version) VALUES (?)', [
      MIGRATIONS.length,
    ])
  } else if (found < MIGRATIONS.length) {
    await transaction.execute('UPDATE latchkey_schema SET version = ?', [MIGRATIONS.length])
  }
}

async function hasSchema(reader: Reader): Promise<boolean> {
  const [known] = await reader.query("SELECT to_regclass('latchkey_schema')::text AS name")
  return known?.['name'] !== null
}

async function readVersion(reader: Reader): Promise<number | undefined> {
  const [row] = await reader.query('SELECT version FROM latchkey_schema')
  return row === undefined ? undefined : Number(row['version'])
}
