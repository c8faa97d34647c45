/**
 * Tests responses that are released but not yet sent: each has a short time to be sent and is then cut off, and each
 * sent response is reported once.
 */
// SPDX-License-Identifier: Apache-2.0
import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import t from 'tap'
import { createInFlightResponses } from '../../../src/server/in-flight-responses.ts'

function outgoing() {
  const cut: IncomingMessage[] = []
  const out = createInFlightResponses((request) => cut.push(request))
  function add(isAllowed: () => boolean, { isGone = false } = {}) {
    const response = Object.assign(new EventEmitter(), {
      destroyed: isGone,
      writableFinished: false,
    })
    const request = { socket: { destroyed: isGone } } as unknown as IncomingMessage
    let sent = 0
    const answer = { isAllowed, sent: () => (sent += 1) }
    out.add(answer, request, response as unknown as ServerResponse)
    return {
      request,
      sent: () => sent,
      close(isFinished = true) {
        response.writableFinished = isFinished
        response.emit('close')
      },
    }
  }
  return { ...out, cut, add }
}

void t.test('a sent response is reported once, and an interrupted one is not', (t) => {
  const { add } = outgoing()
  const one = add(() => true)
  t.equal(one.sent(), 0)
  one.close()
  one.close()
  t.equal(one.sent(), 1)
  const other = add(() => true)
  other.close(false)
  t.equal(other.sent(), 0)
  const gone = add(() => true, { isGone: true })
  gone.close()
  t.equal(gone.sent(), 0)
  t.end()
})

void t.test(
  'only responses that are no longer allowed are cut, and these are not reported as sent',
  async (t) => {
    const { add, cut, cutRevoked } = outgoing()
    let isKilled = false
    const blocked = add(() => !isKilled)
    const other = add(() => true)
    await cutRevoked()
    t.same(cut, [])
    isKilled = true
    await cutRevoked()
    t.same(cut, [blocked.request])
    blocked.close()
    t.equal(blocked.sent(), 0)
    other.close()
    t.equal(other.sent(), 1)
    await cutRevoked()
    t.equal(cut.length, 1, 'nothing is left')
  },
)

void t.test('a response that reaches the kernel within the grace turns is not cut', async (t) => {
  const { add, cut, cutRevoked } = outgoing()
  const one = add(() => false)
  const cutting = cutRevoked()
  setImmediate(() => {
    one.close()
  })
  await cutting
  t.same(cut, [])
  t.equal(one.sent(), 1)
})
