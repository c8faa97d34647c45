/** Runs the attacks of control-attacks.ts on both engines. */
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
    'a table that a crash empties': ['ALTER TABLE switches SET UNLOGGED'],
  },
  `CREATE FUNCTION take_back() RETURNS trigger LANGUAGE plpgsql
     AS 'BEGIN IF NEW.name = ''epoch'' THEN NEW.value := ''0''; END IF; RETURN NEW; END';
   CREATE TRIGGER planted BEFORE UPDATE ON facts FOR EACH ROW EXECUTE FUNCTION take_back()`,
)
