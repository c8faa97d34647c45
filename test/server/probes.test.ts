/** Tests that usage reports omit requests from Latchkey's own tools unless the caller asks to include them. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { PROBE_ID_PREFIX, probeRequestId } from '../../src/core/probe.ts'
import { call, startWithAdmin, token } from '../support/admin.ts'
import { latchkey, latchkeyHere } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { KEY_ID, eventually, type TestServer } from '../support/server.ts'
import { call as callProxy, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const READ = { token: token('viewer') }
const STOP = { token: token('operator') }
const ALL = { kind: 'all' }
const DEMO = { kind: 'key-store', keyStore: 'demo' }

async function start(t: Test) {
  const server = await startWithAdmin(t, { activity: { flushInterval: '100ms' } })
  const credential = await writeConsoleFile(server)
  const words = (command: string) => [
    ...[command, '-e', `https://localhost:${String(server.port)}`, '--credential', credential],
    ...['-k', KEY_ID, '--ca', server.pki.caFile],
  ]
  return { server, words, ...createReports(server) }
}

function createReports(server: TestServer) {
  const rehearse = async (probes?: boolean) =>
    (await call(server, 'POST', '/admin/v1/rehearsals', { ...READ, body: { scope: ALL, probes } }))
      .body
  const exposure = async (query = '') =>
    (await call(server, 'GET', `/admin/v1/exposure${query}`, READ)).body
  return { rehearse, exposure }
}

void t.test('doctor and bench requests are marked and omitted from every report', async (t) => {
  const { server, words, rehearse, exposure } = await start(t)
  const quick = ['--idle', '0', '--requests', '20', '--connections', '3']
  const ignored = ['--ignore', 'host-name,port,tls-authority']
  const doctor = await latchkey(t, [...words('doctor'), ...quick, ...ignored])
  t.match(doctor.stdout, /^\d+ fail, \d+ warn, \d{2} ok/m, 'whatever it found on a busy machine')
  const bench = await latchkey(t, [...words('bench'), '--rate', '20', '--duration', '1'])
  t.equal(bench.code, 0, bench.stderr)
  await eventually(async () => Number((await rehearse(true))['wouldBeRefused']) > 60)

  t.match(await rehearse(), { requests: 0, wouldBeRefused: 0, refusedAnyway: 0, notToldApart: 0 })
  t.match(await exposure(), { exposures: [], probesLeftOut: Number })
  const shown = await exposure('?probes=true')
  t.match(shown, { exposures: [{ keyStore: 'demo', keyId: KEY_ID }], probesLeftOut: 0 })
  const stopped = await call(server, 'POST', '/admin/v1/switches', {
    ...STOP,
    body: { scope: DEMO, reason: 'test' },
  })
  const { receipt } = stopped.body as { receipt: { statement: { lastSuccessAt: unknown } } }
  t.equal(receipt.statement.lastSuccessAt, null, 'no application got data')
  const lines = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
  const marked = lines.filter((line) => line['isProbe'] === true)
  t.ok(marked.length > 100)
  t.ok(marked.every((line) => String(line['kmsRequestId']).startsWith(PROBE_ID_PREFIX)))
})

void t.test('the marker hides no decryption of KMS ciphertexts', async (t) => {
  const { server, rehearse, exposure } = await start(t)
  const path = `/keys/${KEY_ID}`
  // Like KMS, use the application's encryption context as the AAD.
  const additionalAuthenticatedData = Buffer.from('tenant=northwind').toString('base64')
  const sealed = await callProxy(
    server,
    `${path}/encrypt`,
    encryptBody({ additionalAuthenticatedData }),
  )
  const forged = { ...requestMetadata('Decrypt'), kmsRequestId: probeRequestId() }
  const body = decryptBody(sealed.json, { additionalAuthenticatedData, requestMetadata: forged })
  t.equal((await callProxy(server, `${path}/decrypt`, body)).status, 200)
  await eventually(async () => (await rehearse())['requests'] === 2)
  t.match(await exposure(), {
    exposures: [{ requests: 1, by: [{ operation: 'Decrypt', requests: 1 }] }],
    probesLeftOut: 0,
  })
  const lines = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
  t.ok(lines.every((line) => line['isProbe'] === undefined))
})

void t.test('exposure and kill --rehearse omit probes, and say so', async (t) => {
  const { server, words, rehearse } = await start(t)
  const bench = await latchkey(t, [...words('bench'), '--rate', '20', '--duration', '1'])
  t.equal(bench.code, 0, bench.stderr)
  await eventually(async () => Number((await rehearse(true))['requests']) >= 52)
  const config = ['--config', server.configFile]
  const shown = await latchkeyHere(['exposure', ...config])
  t.match(shown.stdout, /no fetches are recorded/)
  t.match(
    shown.stdout,
    /\d+ requests from Latchkey's own tools are left out; pass --probes to include them/,
  )
  t.match((await latchkeyHere(['exposure', '--probes', ...config])).stdout, /user\/Alice/)
  const rehearsal = ['kill', '--rehearse', '--all', ...config]
  t.match((await latchkeyHere(rehearsal)).stdout, /of 0 requests, 0 would have been refused/)
  t.match((await latchkeyHere([...rehearsal, '--probes'])).stdout, /user\/Alice/)
  t.equal((await latchkeyHere(['kill', '--all', '--reason', 'x', '--probes', ...config])).code, 64)
})

void t.test('invalid boolean parameters are rejected', async (t) => {
  const { server } = await start(t)
  const answer = await call(server, 'GET', '/admin/v1/exposure?probes=1', READ)
  t.equal(answer.status, 400)
  t.match(answer.body, { error: { message: 'probes must be true or false' } })
})
