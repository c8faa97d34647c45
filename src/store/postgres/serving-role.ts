/**
 * Lets the server use a role that does not own the tables, so that a compromised server cannot
 * change the schema.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Transaction } from '../database.ts'
import { TABLES } from './tables.ts'

/**
 * Matches the role names that CREATE ROLE and cloud providers use. A `?` is excluded, because it
 * would be taken for a parameter.
 */
const ROLE = /^[\w$@. -]{1,63}$/
const ROWS = 'SELECT, INSERT, UPDATE, DELETE'

/**
 * Call as the owner, after the migrations. Grants the role access to table rows but not to the
 * schema, and creates the role if it is missing.
 * @throws StorageError STORE_UNSUITABLE if the role has the owner's rights anyway
 */
export async function admitServingRole(transaction: Transaction, role: string): Promise<void> {
  if (!ROLE.test(role)) throw unsuitable(`the role ${JSON.stringify(role)} has an unsupported name`)
  const name = quote(role)
  const [known] = await transaction.query(
    'SELECT 1 AS found FROM pg_catalog.pg_roles WHERE rolname = ?',
    [role],
  )
  if (known === undefined) await transaction.execute(`CREATE ROLE ${name} LOGIN`)
  const [row] = await transaction.query(
    `SELECT current_schema()::text AS home, current_user::text AS owner,
       pg_catalog.pg_has_role(?, current_user, 'MEMBER')::integer AS is_owner`,
    [role],
  )
  if (Number(row?.['is_owner']) === 1) {
    throw unsuitable(`the role ${role} has all privileges of the owner ${String(row?.['owner'])}`)
  }
  const home = quote(String(row?.['home']))
  const tables = [...TABLES.keys()].filter((table) => table !== VERSION_TABLE).join(', ')
  for (const sql of [
    // Before PostgreSQL 15, every role can create objects in the schema public.
    `REVOKE CREATE ON SCHEMA ${home} FROM PUBLIC`,
    `GRANT USAGE ON SCHEMA ${home} TO ${name}`,
    `GRANT ${ROWS} ON ${tables} TO ${name}`,
    `GRANT SELECT ON ${VERSION_TABLE} TO ${name}`,
    // Default privileges cover tables that a later release adds.
    `ALTER DEFAULT PRIVILEGES IN SCHEMA ${home} GRANT ${ROWS} ON TABLES TO ${name}`,
  ]) {
    await transaction.execute(sql)
  }
}

/** Only the owner, who runs the migrations, writes to this table. */
const VERSION_TABLE = 'latchkey_schema'

function unsuitable(message: string): StorageError {
  return new StorageError('STORE_UNSUITABLE', message, {
    hint: 'name a role in store.postgres.user that is neither a superuser nor a member of the owner',
  })
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
