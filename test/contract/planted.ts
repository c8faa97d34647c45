/** Objects that an attacker could plant in a schema of a role's search_path. */
// SPDX-License-Identifier: Apache-2.0

/** Returns SQL that creates operators and a function in a schema. They match better than PostgreSQL's own, and fail. */
export const plant = (schema: string) => `DO $$DECLARE op text; l text; r text;
  types text[] := ARRAY['text', 'bigint', 'integer', 'smallint', 'numeric', 'double precision', 'oid', 'regclass',
    'name', '"char"', 'boolean'];
BEGIN
  FOREACH op IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '||'] LOOP
    FOREACH l IN ARRAY types LOOP FOREACH r IN ARRAY types LOOP
      CONTINUE WHEN EXISTS (SELECT 1 FROM pg_operator
        WHERE oprname = op AND oprleft = l::regtype AND oprright = r::regtype);
      EXECUTE format('CREATE OR REPLACE FUNCTION ${schema}.planted(%s, %s) RETURNS boolean LANGUAGE plpgsql
        AS ''BEGIN RAISE EXCEPTION ''''planted''''; END''', l, r);
      EXECUTE format('CREATE OPERATOR ${schema}.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = ${schema}.planted)', op, l, r);
    END LOOP; END LOOP;
  END LOOP;
  CREATE FUNCTION ${schema}.pg_advisory_xact_lock(integer) RETURNS void LANGUAGE plpgsql
    AS 'BEGIN RAISE EXCEPTION ''planted''; END';
END$$`
