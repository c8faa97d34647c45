/**
 * Tests doctor's findings for a proxy with faulty error responses, signature checks or HTTP handling, or with high
 * latency.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { checkErrors, checkKeyErrors } from '../../src/tools/doctor/errors.ts'
import { checkHttp, watchIdle } from '../../src/tools/doctor/http.ts'
import type { Session } from '../../src/tools/doctor/session.ts'
import { checkSignatures } from '../../src/tools/doctor/signatures.ts'
import { checkTiming } from '../../src/tools/doctor/timing.ts'
import { startBrokenProxy, type Faults } from '../support/broken-proxy.ts'
import { named, onErrors, testCases, verdictsOf, type DoctorCase } from '../support/doctor-cases.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'

const server = await startTestServer(t)

const http = (session: Session) => checkHttp(session)
const signatures = (session: Session) => checkSignatures(session)
const errors = async (session: Session) => [
  ...(await checkErrors(session)),
  ...(await checkKeyErrors(session, KEY_ID)),
]

const CASES: readonly DoctorCase[] = [
  {
    what: 'errors without a name',
    faults: { spoil: onErrors((answer) => (answer.body = '{"message":"no"}')) },
    look: errors,
    expected: { 'error-no-key': 'fail', 'error-path': 'fail', 'error-changed': 'fail' },
    says: /404 without an errorName/,
  },
  {
    what: 'errors in HTML',
    faults: {
      spoil: onErrors((answer) => {
        answer.body = '<html>Not Found</html>'
        answer.headers['content-type'] = 'text/html'
      }),
    },
    look: errors,
    expected: { 'error-no-key': 'fail', 'error-json': 'fail' },
  },
  {
    what: 'one name for everything',
    faults: { spoil: named({ errorName: 'InternalException' }) },
    look: errors,
    expected: { 'error-no-key': 'fail', 'error-changed': 'fail', 'error-base64': 'fail' },
    says: /expected 404 KeyNotFoundException, found .*"InternalException"/,
  },
  {
    what: 'a status that does not belong to the name',
    faults: { spoil: onErrors((answer) => (answer.status = 500)) },
    look: errors,
    expected: { 'error-no-key': 'fail', 'error-method': 'fail' },
    says: /expected status 404 with .*, found 500/,
  },
  {
    what: 'messages that are too long, and not ASCII',
    faults: { spoil: named({ errorMessage: 'ü'.repeat(600) }) },
    look: errors,
    expected: { 'error-json': 'fail' },
    says: /found 600; .*printable ASCII/,
  },
  {
    what: 'opening whatever comes',
    faults: {
      spoil: (answer, { target }) => {
        if (!target.endsWith('/decrypt')) return
        answer.status = 200
        answer.body = JSON.stringify({ plaintext: 'AAAA' })
      },
    },
    look: errors,
    expected: { 'error-changed': 'fail', 'error-no-key-decrypt': 'fail' },
    says: /expected 400 InvalidCiphertextException, but the request succeeded/,
  },
  {
    what: 'accepting bad signatures',
    faults: { signsAnew: true },
    look: signatures,
    expected: { refuses: 'fail' },
    says: /another secret: expected 401 AuthenticationFailedException, but the request succeeded/,
  },
  {
    what: 'refusing good signatures',
    faults: {
      spoil: (answer, { body }) => {
        if (!body.includes('KmsHealthCheck')) return
        answer.status = 401
        answer.body = '{"errorName":"AuthenticationFailedException"}'
      },
    },
    look: signatures,
    expected: { accepts: 'warn' },
  },
  {
    what: 'JSON over several lines',
    faults: {
      spoil: (answer) =>
        (answer.body = JSON.stringify(JSON.parse(answer.body || '{}'), undefined, 2)),
    },
    look: http,
    expected: { 'http-compact': 'warn' },
  },
  {
    what: 'a clock ten minutes behind',
    faults: {
      spoil: (answer) => (answer.headers['date'] = new Date(Date.now() - 600_000).toUTCString()),
    },
    look: http,
    expected: { clock: 'fail' },
  },
  {
    what: 'a clock one minute ahead',
    faults: {
      spoil: (answer) => (answer.headers['date'] = new Date(Date.now() + 60_000).toUTCString()),
    },
    look: http,
    expected: { clock: 'warn' },
  },
  {
    what: 'no clock at all',
    faults: { spoil: (answer) => (answer.headers['date'] = '') },
    look: http,
    expected: { clock: 'warn' },
  },
  {
    what: 'a proxy that is not healthy over any HTTP',
    faults: { spoil: (answer) => (answer.status = 502) },
    look: http,
    expected: { 'http-1': 'fail', 'http-no-alpn': 'fail', 'http-2': 'fail' },
  },
]

testCases(t, server, CASES)

void t.test('a proxy that signs everything again fails every signature check', async (t) => {
  const proxy = await startBrokenProxy(t, server, { signsAnew: true })
  const findings = await checkSignatures(proxy.session())
  const refusals = findings.filter(({ check }) => check.startsWith('refuses-'))
  t.ok(refusals.length >= 25, `${String(refusals.length)} kinds of bad signatures`)
  t.same([...verdictsOf(findings, 'refuses-')], ['fail'])
})

void t.test('without faults, nothing is reported', async (t) => {
  const proxy = await startBrokenProxy(t, server)
  for (const look of [errors, signatures, http]) {
    const findings = await look(proxy.session())
    t.same(
      findings.filter(({ verdict }) => verdict !== 'ok'),
      [],
    )
  }
})

void t.test('doctor sees: slow answers', async (t) => {
  const counts = { requests: 1, connections: 1 }
  const slow = await startBrokenProxy(t, server, { delayMs: 260 })
  const { findings, timings } = await checkTiming(slow.session(), counts)
  t.same([...verdictsOf(findings, 'time-')], ['fail'])
  t.ok((timings['Encrypt']?.p50 ?? 0) > 255)
  t.equal(timings['total']?.count, 1)
  const slowish = await startBrokenProxy(t, server, { delayMs: 160 })
  const { findings: warned } = await checkTiming(slowish.session(), counts)
  t.ok(!verdictsOf(warned, 'time-').has('ok'))
})

void t.test('doctor sees: a slow first response', async (t) => {
  const proxy = await startBrokenProxy(t, server, { delayMs: 500, delaysFirst: true })
  const { findings } = await checkTiming(proxy.session(), { requests: 5, connections: 3 })
  t.same([...verdictsOf(findings, 'first-request')], ['warn'])
})

void t.test('doctor sees: connections that are closed', async (t) => {
  const faults: Readonly<Record<string, Faults>> = {
    'when idle': { keepAliveMs: 100 },
    'after each response': { spoil: (answer) => (answer.headers['connection'] = 'close') },
  }
  for (const [when, fault] of Object.entries(faults)) {
    const proxy = await startBrokenProxy(t, server, fault)
    const idle = await watchIdle(proxy.session())
    t.match(await idle.finish(10_000), { check: 'keep-alive', verdict: 'warn' }, when)
  }
  const kept = await watchIdle((await startBrokenProxy(t, server)).session())
  t.match(await kept.finish(1500), { check: 'keep-alive', verdict: 'ok' })
})
