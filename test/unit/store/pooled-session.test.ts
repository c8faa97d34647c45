/**
 * Tests that a statement of a shared PostgreSQL session ends with its connection: its remaining parts must not run on
 * the next connection, where another transaction may be in progress. A server that the test controls answers.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t from 'tap'
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
