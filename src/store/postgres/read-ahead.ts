/**
 * Answers the queries of a snapshot from rows that were read together, in one message. On a fleet's
 * server, a round trip costs more than a small query.
 */
// SPDX-License-Identifier: Apache-2.0
import type { ExpectedQuery, Reader, Row, SqlValue } from '../database.ts'
import type { Connection } from './connection.ts'
import { toLiteralSql } from './statements.ts'

/** Thrown for a query that was not read ahead. The work must begin again in a real snapshot. */
export class UnexpectedQuery extends Error {}

/**
 * Returns a reader that reads the snapshot at its first query.
 * @param begin begins a transaction that reads one snapshot
 */
export function readAhead(
  connection: Connection,
  begin: string,
  expected: readonly ExpectedQuery[],
): Reader {
  let reading: Promise<ReadonlyMap<string, readonly Row[]>> | undefined

  async function read() {
    const found = await connection.readAll(begin, expected.map(toLiteralSql))
    const rows = new Map<string, readonly Row[]>()
    // A query without an answer counts as one that was not read ahead.
    expected.forEach(({ sql, parameters }, i) => {
      const answer = found[i]
      if (answer !== undefined) rows.set(keyOf(sql, parameters), answer)
    })
    return rows
  }

  return {
    async query(sql, parameters = []) {
      const rows = (await (reading ??= read())).get(keyOf(sql, parameters))
      if (rows === undefined) throw new UnexpectedQuery()
      return rows
    },
  }
}

function keyOf(sql: string, parameters: readonly SqlValue[]): string {
  return `${JSON.stringify(parameters)} ${sql}`
}
