/** Runs the database contract on PostgreSQL. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { startPostgres } from '../support/postgres.ts'
import { postgresContract } from './postgres-database.ts'

t.setTimeout(300_000)
const server = await startPostgres(t)

postgresContract('PostgreSQL', () => server.createDatabase())
