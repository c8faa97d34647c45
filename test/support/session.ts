/** Sends many signed requests over one kept-alive connection. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { TestServer } from './server.ts'
import { openWire, signedRequest, type Answer, type Signing } from './wire.ts'

/** Node's own HTTP parser fails on deeper pipelines (HPE_PAUSED). */
const AT_A_TIME = 16

export interface SessionRequest {
  readonly path: string
  readonly body: string | Buffer | Record<string, unknown>
  readonly signing?: Signing
}

export interface Session {
  call(path: string, body: SessionRequest['body'], signing?: Signing): Promise<Answer>
  /** Pipelines the requests: sends all of them before reading the first response. Responses are in request order. */
  callAll(requests: readonly SessionRequest[]): Promise<readonly Answer[]>
}

/** Opens a session that closes when the test ends. */
export async function openSession(t: Test, server: TestServer): Promise<Session> {
  const wire = await openWire(server)
  t.teardown(() => {
    wire.destroy()
  })
  const read = async () => {
    const answer = await wire.answer(30_000)
    if (answer === undefined) throw new Error('the connection was closed without an answer')
    return answer
  }
  const session: Session = {
    async call(path, body, signing = {}) {
      wire.write(signedRequest(server, path, body, signing))
      return read()
    },
    async callAll(requests) {
      const answers: Answer[] = []
      for (let at = 0; at < requests.length; at += AT_A_TIME) {
        const some = requests.slice(at, at + AT_A_TIME)
        const bytes = some.map(({ path, body, signing }) =>
          signedRequest(server, path, body, signing),
        )
        wire.write(Buffer.concat(bytes))
        while (answers.length < at + some.length) answers.push(await read())
      }
      return answers
    },
  }
  return session
}
