/**
 * Finds objects in Latchkey's PostgreSQL schema that no migration created: a trigger there would
 * run inside Latchkey's own transactions.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Transaction } from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'

/** Names of the tables after all migrations. */
function findTables(): readonly string[] {
  const tables = new Set(['latchkey_schema'])
  for (const sql of MIGRATIONS.flat()) {
    const made = /^CREATE TABLE (?:IF NOT EXISTS )?(\w+)/.exec(sql)?.[1]
    const [, before, after] = /^ALTER TABLE (\w+) RENAME TO (\w+)/.exec(sql) ?? []
    const dropped = /^DROP TABLE (?:IF EXISTS )?(\w+)/.exec(sql)?.[1]
    if (made !== undefined) tables.add(made)
    if (before !== undefined && tables.delete(before) && after !== undefined) tables.add(after)
    if (dropped !== undefined) tables.delete(dropped)
  }
  return [...tables]
}

/** The views let instances of an earlier release keep reading; this release does not read them. */
const VIEWS = MIGRATIONS.flat().flatMap((sql) => /^CREATE VIEW (\w+)/.exec(sql)?.[1] ?? [])
const toList = (names: readonly string[]) => names.map((name) => `'${name}'`).join(', ')
export const TABLES = findTables()
const OURS = toList(TABLES)
const OUR_VIEWS = toList(VIEWS)

/** CREATE EXTENSION created the objects that belong to extensions, such as pg_stat_statements. */
const notOfExtension = (id: string, catalog: string) =>
  `NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = ${id}
     AND d.classid = 'pg_catalog.${catalog}'::pg_catalog.regclass AND d.deptype = 'e')`

/** Returns one row for each object that must not exist, in one statement. */
const FOREIGN_OBJECTS = `
  WITH home AS (SELECT relnamespace AS id, relowner AS owner FROM pg_catalog.pg_class
                WHERE oid = 'facts'::pg_catalog.regclass),
  ours AS (SELECT c.* FROM pg_catalog.pg_class c, home
           WHERE c.relnamespace = home.id AND c.relkind = 'r' AND c.relname IN (${OURS}))
  SELECT 'table' AS kind, ours.relname::text AS name FROM ours, home
    WHERE ours.relpersistence <> 'p' OR ours.relrowsecurity OR ours.relispartition OR ours.relhassubclass
       OR ours.relowner <> home.owner
       OR EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = ours.oid OR i.inhparent = ours.oid)
  UNION ALL SELECT 'relation', c.relname::text FROM pg_catalog.pg_class c, home
    WHERE c.relnamespace = home.id AND c.oid NOT IN (SELECT oid FROM ours)
      AND NOT (c.relkind = 'v' AND c.relname IN (${OUR_VIEWS}))
      AND NOT (c.relkind = 'i' AND EXISTS (SELECT 1 FROM pg_catalog.pg_index x, ours
        WHERE x.indexrelid = c.oid AND x.indrelid = ours.oid AND x.indexprs IS NULL AND x.indpred IS NULL))
      AND ${notOfExtension('c.oid', 'pg_class')}
  UNION ALL SELECT 'trigger', t.tgname::text FROM pg_catalog.pg_trigger t, ours
    WHERE t.tgrelid = ours.oid AND NOT t.tgisinternal
  UNION ALL SELECT 'rule', r.rulename::text FROM pg_catalog.pg_rewrite r, ours WHERE r.ev_class = ours.oid
  UNION ALL SELECT 'policy', p.polname::text FROM pg_catalog.pg_policy p, ours WHERE p.polrelid = ours.oid
  UNION ALL SELECT 'column', ours.relname::text || '.' || a.attname::text
    FROM pg_catalog.pg_attribute a JOIN ours ON a.attrelid = ours.oid
    LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
      AND (a.attgenerated <> '' OR a.attidentity <> ''
        OR a.atttypid NOT IN ('text'::pg_catalog.regtype, 'bigint'::pg_catalog.regtype, 'integer'::pg_catalog.regtype)
        OR pg_catalog.pg_get_expr(f.adbin, f.adrelid) NOT IN ('0', '''''::text', '''0''::bigint'))
  UNION ALL SELECT 'constraint', k.conname::text FROM pg_catalog.pg_constraint k, ours
    WHERE k.conrelid = ours.oid AND k.contype NOT IN ('p', 'n', 'u')
      AND NOT (k.contype = 'f' AND ours.relname = 'key_versions' AND k.confdeltype = 'a' AND k.confupdtype = 'a')
  UNION ALL SELECT 'function', p.proname::text FROM pg_catalog.pg_proc p, home
    WHERE p.pronamespace = home.id AND ${notOfExtension('p.oid', 'pg_proc')}
  UNION ALL SELECT 'operator', o.oprname::text FROM pg_catalog.pg_operator o, home
    WHERE o.oprnamespace = home.id AND ${notOfExtension('o.oid', 'pg_operator')}
  UNION ALL SELECT 'event trigger', e.evtname::text FROM pg_catalog.pg_event_trigger e
    WHERE e.evtenabled <> 'D' AND ${notOfExtension('e.oid', 'pg_event_trigger')}
  UNION ALL SELECT 'search_path', s.name FROM (
      SELECT pg_catalog.unnest(pg_catalog.current_schemas(false))::text AS name) s
    WHERE s.name = 'pg_catalog'`

const PASSIVE: ReadonlySet<unknown> = new Set(['relation', 'column', 'constraint'])

/** @throws StorageError STORE_TAMPERED */
export async function checkPostgresSchema(reader: Reader): Promise<void> {
  const objects = await reader.query(FOREIGN_OBJECTS)
  const [row] = await reader.query('SELECT max(version) AS version FROM latchkey_schema')
  // A later release may have changed the schema while this process runs, but must not have added
  // active objects.
  const isNewer = Number(row?.['version']) > MIGRATIONS.length
  const found = objects.find(({ kind }) => !isNewer || !PASSIVE.has(kind))
  if (found === undefined) return
  throw new StorageError(
    'STORE_TAMPERED',
    `the database has a ${String(found['kind'])} that Latchkey did not create: ${String(found['name'])}`,
    { hint: 'drop it if you know its purpose; Latchkey does not share its schema' },
  )
}

export async function isMigrated(reader: Reader): Promise<boolean> {
  return (await hasSchema(reader)) && (await readVersion(reader)) === MIGRATIONS.length
}

/** Runs all missing steps. @throws StorageError STORE_NEWER */
export async function migrateSchema(transaction: Transaction): Promise<void> {
  // IF NOT EXISTS would need the right to create tables, which a role that only serves lacks.
  if (!(await hasSchema(transaction))) {
    await transaction.execute('CREATE TABLE latchkey_schema (version INTEGER NOT NULL)')
  }
  const found = await readVersion(transaction)
  const version = found ?? 0
  if (version > MIGRATIONS.length) {
    throw new StorageError(
      'STORE_NEWER',
      `the store has schema version ${String(version)}; this release supports up to ${String(MIGRATIONS.length)}`,
      { hint: 'use the release that wrote it, or a later one' },
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
