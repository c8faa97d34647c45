/** Sends corrupted requests: the server responds in the API's format or closes the connection, and survives. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { runs, damaged } from '../support/fuzz.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { call, encryptBody, openWire, signedRequest } from '../support/wire.ts'

const PATH = `/keys/${KEY_ID}/encrypt`
/** Completes the request head; otherwise the server would wait for the rest. */
const END = '\r\n\r\n'

void t.test('the server answers any bytes in its form or closes the connection', async (t) => {
  const server = await startTestServer(t, {
    config: { listener: { timeouts: { headers: '1s', request: '2s' } } },
  })
  const good = signedRequest(server, PATH, encryptBody()).toString('latin1')
  const head = good.slice(0, good.indexOf(END))
  const body = good.slice(good.indexOf(END) + END.length)
  const bytes = fc.oneof(
    damaged(head).map((text) => `${text}${END}${body}`),
    damaged(good).map((text) => `${text}${END}`),
    fc.string().map((text) => `${text}${END}`),
  )
  const seen = { answered: 0, closed: 0 }
  await fc.assert(
    fc.asyncProperty(bytes, async (text) => {
      const wire = await openWire(server)
      try {
        wire.write(Buffer.from(text, 'latin1'))
        wire.socket.end()
        const answer = await wire.answer(30_000)
        if (answer === undefined) {
          seen.closed += 1
          return true
        }
        seen.answered += 1
        if (answer.status === 200) return true
        const { errorName, errorMessage } = answer.json
        return (
          answer.headers.get('content-type') === 'application/json' &&
          typeof errorName === 'string' &&
          /^[\x20-\x7e]{1,511}$/.test(String(errorMessage))
        )
      } finally {
        wire.destroy()
      }
    }),
    runs(300),
  )
  t.ok(seen.answered > 100, JSON.stringify(seen))
  t.equal((await call(server, PATH, encryptBody())).status, 200, 'and it serves on')
  const faults = (await server.stopAndReadLog()).filter(({ level }) => Number(level) >= 50)
  t.same(faults, [], 'no fault of ours is in the log')
})
