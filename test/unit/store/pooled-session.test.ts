/**
 * Tests what a shared PostgreSQL session sends. A statement ends with its connection: its remaining parts must not run
 * on the next connection, where another transaction may be in progress. A server that the test controls answers.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { Connection } from '../../../src/store/postgres/connection.ts'
import { openPostgresReader } from '../../../src/store/postgres/database.ts'
import { PostgresSession } from '../../../src/store/postgres/session.ts'

/** Builds a message of PostgreSQL's protocol, version 3. */
function message(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const text = (value: string) => Buffer.from(`${value}\0`)
const int16 = (value: number) => Buffer.from([value >> 8, value & 255])
const int32 = (value: number) => Buffer.from([0, 0, value >> 8, value & 255])
const ready = (state: string) => message('Z', Buffer.from(state))
const done = (command: string, state: string) =>
  Buffer.concat([message('C', text(command)), ready(state)])
const FATAL = message(
  'E',
  ...['SFATAL', 'VFATAL', 'C57P01', 'Mthe server stops'].map(text),
  Buffer.from([0]),
)

/** Answers a new session's question as a pooler does that ignored the settings. */
function answerSettings(): Buffer {
  const names = ['read_only', 'id', 'path']
  const fields = names.map((name) =>
    Buffer.concat([text(name), int32(0), int16(0), int32(25), int16(-1), int32(0), int16(0)]),
  )
  const value = (one: string) => Buffer.concat([int32(one.length), Buffer.from(one)])
  const row = [value('off'), Buffer.from([255, 255, 255, 255]), value("'public'")]
  return Buffer.concat([
    message('T', int16(names.length), ...fields),
    message('D', int16(names.length), ...row),
    done('SELECT 1', 'I'),
  ])
}

void t.test(
  'a statement whose transaction was lost does not run on the next connection',
  async (t) => {
    const received: string[][] = []
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      const queries: string[] = []
      const place = received.push(queries)
      let isStarted = false
      socket.on('error', () => undefined)
      socket.on('data', (data) => {
        if (!isStarted) {
          isStarted = true
          socket.write(Buffer.concat([message('R', int32(0)), ready('I')]))
          return
        }
        if (data[0] !== 0x51) return
        const sql = data.toString('utf8', 5, data.length - 1)
        queries.push(sql.split(' ', 1)[0] ?? '')
        if (sql.includes('AS read_only')) socket.write(answerSettings())
        // The server stops right after it has begun the transaction.
        else if (place === 1) socket.end(Buffer.concat([done('BEGIN', 'T'), FATAL]))
        else socket.write(done('OK', 'I'))
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const loadTarget = () => Promise.resolve({ host: '127.0.0.1', port, database: 'd', user: 'u' })
    const session = new PostgresSession(loadTarget, 5000)
    t.teardown(() => {
      session.close()
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    await t.rejects(session.runAlone('DELETE FROM rows'), { code: 'STORE_UNREACHABLE' })
    await session.run('SELECT 1')
    t.same(received, [
      ['SELECT', 'BEGIN'],
      ['SELECT', 'SELECT'],
    ])
  },
)

/**
 * Starts a server that lets every client in, and passes each later statement to `answer`.
 * @returns the connections so far, and the server's address
 */
async function startServer(t: Test, answer: (sql: string, socket: Socket) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let isStarted = false
    socket.on('error', () => undefined)
    socket.on('data', (data) => {
      if (!isStarted) {
        isStarted = true
        socket.write(Buffer.concat([message('R', int32(0)), ready('I')]))
        return
      }
      const sql = data.toString('utf8', 5, data.length - 1)
      if (sql.includes('AS read_only')) socket.write(answerSettings())
      else answer(sql, socket)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const loadTarget = () => Promise.resolve({ host: '127.0.0.1', port, database: 'd', user: 'u' })
  return { sockets, loadTarget }
}

void t.test('a snapshot whose queries are expected is one message', async (t) => {
  const received: string[] = []
  const { loadTarget } = await startServer(t, (sql, socket) => {
    received.push(sql)
    const commands = sql.split('; ').map((one) => message('C', text(one.split(' ', 1)[0] ?? '')))
    socket.write(Buffer.concat([...commands, ready('I')]))
  })
  const database = openPostgresReader({ loadTarget, deadlineMs: 5000 })
  t.teardown(() => database.close())
  const one = { sql: 'SELECT a FROM b WHERE c > ? AND d < ?', parameters: [-1, 2 ** 52] }
  const two = { sql: 'SELECT e FROM f', parameters: [] }
  await database.snapshot(
    async (reader) => {
      t.equal(received.length, 0, 'nothing is sent before the first query')
      for (const { sql, parameters } of [two, one, two]) await reader.query(sql, parameters)
    },
    [one, two],
  )
  const [script = '', ...others] = received
  t.same(others, [])
  const [begin, settings, ...rest] = script.split('; ')
  t.equal(begin, 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
  t.match(settings, /^SELECT pg_catalog\.set_config\(.*search_path/)
  t.same(rest, [
    "SELECT a FROM b WHERE c > '-1'::bigint AND d < '4503599627370496'::bigint",
    'SELECT e FROM f',
    'COMMIT',
  ])
  const half = { sql: 'SELECT ?', parameters: [0.5] }
  await t.rejects(
    database.snapshot(({ query }) => query(half.sql, half.parameters), [half]),
    RangeError,
    'only integers become part of a statement',
  )
})

void t.test(
  'a connection that is lost right before the deadline is not dialled again',
  async (t) => {
    const deadlineMs = 1000
    const { sockets, loadTarget } = await startServer(t, (sql, socket) => {
      if (sql === 'SELECT 1') socket.write(done('SELECT 1', 'I'))
      else setTimeout(() => socket.destroy(), deadlineMs - 50)
    })
    const session = new PostgresSession(loadTarget, deadlineMs)
    t.teardown(() => {
      session.close()
    })
    await session.run('SELECT 1')
    const work = new Connection(session).transaction(['BEGIN'], () => Promise.resolve())
    await t.rejects(work, { code: /STORE_UNREACHABLE|STORE_TIMEOUT/ })
    t.equal(sockets.size, 1, 'there is one connection')
  },
)
