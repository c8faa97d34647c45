/**
 * Tests that a connection is no longer trusted when the client's certificate expires, its CA is removed, or the
 * connection reaches its maximum age.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { EAST, type Files, issueClient, show, startMtls } from '../support/client-certificate.ts'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { newAuthority, testPki } from '../support/pki.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openWire, requestMetadata, signedRequest, type Wire } from '../support/wire.ts'

/** This maximum wait is generous, because the machine may be busy. */
const LATEST_MS = 60_000
const body = JSON.stringify({ requestMetadata: requestMetadata('KmsHealthCheck') })

const pki = await testPki()
const other = await newAuthority('Another CA')

async function ask(server: TestServer, wire: Wire) {
  wire.write(signedRequest(server, '/health', body))
  return wire.answer(LATEST_MS)
}

/** Opens one kept-alive connection per HTTP version and sends a request on each. */
async function openKept(t: Test, server: TestServer, files: Files) {
  const wire = await openWire(server, show(files))
  t.teardown(() => {
    wire.destroy()
  })
  const session = await openHttp2(t, server, show(files))
  session.on('error', () => undefined)
  t.equal((await ask(server, wire))?.status, 200)
  t.equal(await askHttp2(session, server, '/health', body), 200)
  const closed = Promise.all([
    once(wire.socket, 'close', { signal: AbortSignal.timeout(LATEST_MS) }),
    once(session, 'close', { signal: AbortSignal.timeout(LATEST_MS) }),
  ])
  return { wire, session, closed }
}

void t.test('[AUTH-3] kept-alive connections close when their CA is removed', async (t) => {
  const caFile = join(t.testdir(), 'ca.pem')
  const [ours, theirs] = [pki.authority.certificatePem, other.certificatePem]
  await writeFile(caFile, ours + theirs)
  const server = await startMtls(t, [EAST], caFile)
  const first = await openKept(t, server, await issueClient('client-kept-other', {}, other))
  await writeFile(caFile, ours)
  await server.running.reloadCertificates()
  await first.closed

  const good = await issueClient('client-kept')
  const second = await openKept(t, server, good)
  await writeFile(caFile, theirs + ours)
  await server.running.reloadCertificates()
  t.equal((await ask(server, second.wire))?.status, 200, 'one more authority ends nothing')
  t.equal(await askHttp2(second.session, server, '/health', body), 200)
  const lines = await server.stopAndReadLog()
  t.match(
    lines.filter(({ msg }) => msg === 'connection refused'),
    [{ reason: 'CERTIFICATE_OVER' }, { reason: 'CERTIFICATE_OVER' }],
  )
})

/**
 * Opens kept-alive connections whose client certificate expires soon. Retries with a later expiry if the machine takes
 * too long to open them.
 */
async function openBrief(t: Test, server: TestServer) {
  for (let seconds = 5; ; seconds *= 2) {
    const notAfter = new Date(Date.now() + seconds * 1000)
    const files = await issueClient(`client-brief-${String(seconds)}`, { notAfter })
    const wire = await openWire(server, show(files)).catch(() => undefined)
    if (wire === undefined || (await ask(server, wire))?.status !== 200) continue
    t.teardown(() => {
      wire.destroy()
    })
    const session = await openHttp2(t, server, show(files)).catch(() => undefined)
    if (session === undefined) continue
    session.on('error', () => undefined)
    const closed = session.destroyed ? Promise.resolve() : once(session, 'close')
    return { wire, closed, endsAt: notAfter.getTime() }
  }
}

void t.test(
  "[AUTH-3] kept-alive connections close when the client's certificate expires",
  async (t) => {
    const server = await startMtls(t)
    const { wire, closed, endsAt } = await openBrief(t, server)
    // After the certificate expires, no request may get a response, whether the connection is in use or idle.
    let askedAt = 0
    for (;;) {
      const now = Date.now()
      if ((await ask(server, wire)) === undefined) break
      askedAt = now
    }
    await closed
    t.ok(Date.now() >= endsAt - 1000, 'not before its time')
    t.ok(askedAt < endsAt)
  },
)

void t.test(
  'a connection past its maximum age closes after a response that announces it',
  async (t) => {
    const server = await startTestServer(t, { config: { listener: { maxConnectionAge: '1s' } } })
    // Start timing before the connection opens, so that the measured time is at least the connection's age.
    const since = performance.now()
    const wire = await openWire(server)
    for (;;) {
      const answer = await ask(server, wire)
      t.equal(answer?.status, 200)
      if (answer?.headers.get('connection') === 'close') break
    }
    t.ok(performance.now() - since >= 740, 'three quarters of its age at least')
    await wire.closed(LATEST_MS)

    const session = await openHttp2(t, server)
    const goaway = once(session, 'goaway')
    while (!session.closed && !session.destroyed)
      t.equal(await askHttp2(session, server, '/health', body), 200)
    await goaway
  },
)

void t.test('an idle connection past its maximum age is closed', async (t) => {
  const server = await startTestServer(t, { config: { listener: { maxConnectionAge: '100ms' } } })
  const wire = await openWire(server)
  const session = await openHttp2(t, server)
  const closed = once(session, 'close', { signal: AbortSignal.timeout(LATEST_MS) })
  await wire.closed(LATEST_MS)
  await closed
})
