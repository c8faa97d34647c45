/** Runs the attacks defined in control-attacks.ts on both engines. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { controlAttacks } from './control-attacks.ts'
import { openPostgres, openSqlite } from './control-engines.ts'

t.setTimeout(240_000)

const PUT_BACK = `CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN DELETE FROM switches; RETURN NULL; END'`

controlAttacks(
  { name: 'SQLite', open: openSqlite },
  {
    'a trigger that takes the switch away': [
      'CREATE TRIGGER planted AFTER INSERT ON control_events BEGIN DELETE FROM switches; END',
    ],
    'a trigger on a view': [
      'CREATE VIEW planted AS SELECT * FROM switches',
      'CREATE TRIGGER planted_too INSTEAD OF INSERT ON planted BEGIN DELETE FROM switches; END',
    ],
    'a table': ['CREATE TABLE planted (x TEXT)'],
    'a unique index that refuses rows': ['CREATE UNIQUE INDEX planted ON switches (direction)'],
  },
  "CREATE TRIGGER planted AFTER UPDATE ON facts BEGIN UPDATE facts SET value = '0' WHERE name = 'epoch'; END",
)
/** Makes the store look as if a later release had migrated it. */
const LATER = 'UPDATE latchkey_schema SET version = version + 1'
/** Creates a function outside Latchkey's schema. */
const ELSEWHERE = `CREATE SCHEMA elsewhere;
  CREATE FUNCTION elsewhere.planted() RETURNS boolean LANGUAGE plpgsql
    AS 'BEGIN DELETE FROM switches; RETURN true; END'`

controlAttacks(
  { name: 'PostgreSQL', open: openPostgres },
  {
    'a trigger that takes the switch away': [
      PUT_BACK,
      'CREATE TRIGGER planted AFTER INSERT ON control_events EXECUTE FUNCTION put_back()',
    ],
    'a trigger that waits for the commit': [
      PUT_BACK,
      `CREATE CONSTRAINT TRIGGER planted AFTER INSERT ON switches DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION put_back()`,
    ],
    'a function alone': [PUT_BACK],
    'a rule': ['CREATE RULE planted AS ON INSERT TO switches DO INSTEAD NOTHING'],
    'a policy': ['ALTER TABLE switches ENABLE ROW LEVEL SECURITY'],
    'a default': ["ALTER TABLE switches ALTER COLUMN reason SET DEFAULT 'planted'"],
    'a generated column': [
      'ALTER TABLE switches ADD COLUMN planted TEXT GENERATED ALWAYS AS (id) STORED',
    ],
    'a view': ['CREATE VIEW planted AS SELECT * FROM switches'],
    'a child table': ['CREATE TABLE planted () INHERITS (switches)'],
    'a constraint': ["ALTER TABLE switches ADD CHECK (reason <> 'planted')"],
    'an index with an expression': ['CREATE INDEX planted ON switches (lower(id))'],
    'an index with another operator class': [
      'CREATE UNIQUE INDEX planted ON external_keys (key_store text_pattern_ops, key_id)',
    ],
    'a plain column': ['ALTER TABLE switches ADD COLUMN planted TEXT'],
    'a column without its constraint': ['ALTER TABLE switches ALTER COLUMN reason DROP NOT NULL'],
    'a column of another type': ['ALTER TABLE switches ALTER COLUMN reason TYPE varchar(999)'],
    'a collation that sees equality elsewhere': [
      "CREATE COLLATION planted (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
      'ALTER TABLE switches ALTER COLUMN id TYPE text COLLATE planted',
    ],
    'a missing key': ['ALTER TABLE switches DROP CONSTRAINT switches_pkey'],
    'a missing index': ['DROP INDEX switches_changed'],
    'a unique index that refuses rows': ['CREATE UNIQUE INDEX planted ON switches (direction)'],
    'a check under a later schema version': [
      LATER,
      ELSEWHERE,
      'ALTER TABLE switches ADD CHECK (elsewhere.planted())',
    ],
    'a view with a function under a later schema version': [
      LATER,
      ELSEWHERE,
      'CREATE VIEW planted AS SELECT id, elsewhere.planted() FROM switches',
    ],
    'a trigger on a renamed table': [
      LATER,
      ELSEWHERE,
      'ALTER TABLE switches RENAME TO real_switches',
      'CREATE VIEW switches AS SELECT * FROM real_switches',
      'CREATE FUNCTION elsewhere.ignore() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$',
      'CREATE TRIGGER planted BEFORE INSERT ON real_switches FOR EACH ROW EXECUTE FUNCTION elsewhere.ignore()',
    ],
    'a check on a partitioned table': [
      LATER,
      ELSEWHERE,
      'ALTER TABLE switches RENAME TO old_switches',
      `CREATE TABLE switches (LIKE old_switches INCLUDING DEFAULTS, CHECK (elsewhere.planted()))
         PARTITION BY LIST (id)`,
      'CREATE TABLE elsewhere.part PARTITION OF switches DEFAULT',
      'INSERT INTO switches SELECT * FROM old_switches',
    ],
    'a child of a renamed table': [
      LATER,
      ELSEWHERE,
      'ALTER TABLE switches RENAME TO real_switches',
      'CREATE VIEW switches AS SELECT * FROM real_switches',
      'CREATE TABLE elsewhere.child (CHECK (elsewhere.planted())) INHERITS (real_switches)',
    ],
    'a table that a crash empties': ['ALTER TABLE switches SET UNLOGGED'],
  },
  `CREATE FUNCTION take_back() RETURNS trigger LANGUAGE plpgsql
     AS 'BEGIN IF NEW.name = ''epoch'' THEN NEW.value := ''0''; END IF; RETURN NEW; END';
   CREATE TRIGGER planted BEFORE UPDATE ON facts FOR EACH ROW EXECUTE FUNCTION take_back()`,
)
