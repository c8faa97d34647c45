/**
 * Sends far more concurrent requests than can be answered in time: some are served, the others are refused, and none
 * goes unanswered.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { serveProgram } from '../support/program.ts'
import { eventually, KEY_ID } from '../support/server.ts'
import { encryptBody, openWire, requestMetadata, signedRequest } from '../support/wire.ts'

const CONNECTIONS = 160
/** Requests per connection. The responses must fit into a socket buffer, because Node.js fails on deeper pipelines. */
const EACH = 25

void t.test(
  'every request of a flood is answered, with ThrottlingException if late, and service resumes afterwards',
  async (t) => {
    const program = await serveProgram(t, {
      limits: { requestDeadline: '200ms' },
      // A busy machine may read the store late; the long lease keeps this from affecting the result.
      control: { lease: '5m' },
      // Opening this many connections takes a while on a busy machine.
      listener: { timeouts: { headers: '2m', request: '3m' } },
    })
    const { server } = program
    const encrypt = signedRequest(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
    const health = { requestMetadata: requestMetadata('KmsHealthCheck') }
    const wires = await Promise.all(Array.from({ length: CONNECTIONS }, () => openWire(server)))
    // Warm up, because the first requests take many times as long as later ones.
    for (let i = 0; i < 100; i++) {
      wires[0]?.write(encrypt)
      await wires[0]?.answer(60_000)
    }
    const flood = Buffer.concat(Array.from({ length: EACH }, () => encrypt))
    const counts = new Map<string, number>()
    await Promise.all(
      wires.map(async (wire) => {
        wire.write(flood)
        for (let i = 0; i < EACH; i++) {
          const answer = await wire.answer(60_000)
          const what = `${String(answer?.status)} ${(answer?.json['errorName'] as string | undefined) ?? ''}`
          counts.set(what, (counts.get(what) ?? 0) + 1)
        }
      }),
    )
    const served = counts.get('200 ') ?? 0
    const refused = counts.get('429 ThrottlingException') ?? 0
    // On a busy machine, a request may use up its deadline while it is being served.
    const timedOut = counts.get('503 DependencyTimeoutException') ?? 0
    t.equal(served + refused + timedOut, CONNECTIONS * EACH, JSON.stringify([...counts]))
    t.ok(served > 0, `${String(served)} served`)
    t.ok(refused > 0, `${String(refused)} refused`)

    const [wire] = wires
    await eventually(async () => {
      wire?.write(encrypt)
      return (await wire?.answer())?.status === 200
    })
    wire?.write(signedRequest(server, '/health', health))
    t.equal((await wire?.answer())?.status, 200)
    const MESSAGE = 'overload: further requests refused'
    const ALONE = 'request refused: too late to respond in time'
    const told = () =>
      program.linesOf(ALONE).length +
      program.linesOf(MESSAGE).reduce((sum, line) => sum + Number(line['refused']), 0)
    const late = () =>
      program
        .linesOf('request')
        .filter((line) => line['reason'] === 'LATE' || line['reason'] === 'CALLER_GONE').length
    await eventually(() => told() + late() >= refused)
    t.pass('each refusal is counted in the log')
    t.same(program.linesOf('connection refused'), [])
  },
)
