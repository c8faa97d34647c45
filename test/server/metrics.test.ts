/** Tests a real server's metrics: from a single process, and merged from several. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { openWitnessKey } from '../../src/audit/witness/key.ts'
import { METRICS } from '../../src/observability/metrics/catalogue.ts'
import { STAGES } from '../../src/core/request.ts'
import { temporaryFolder } from '../support/cli.ts'
import { serveProgram } from '../support/program.ts'
import { eventually, KEY_ID, startTestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const metrics = { host: '127.0.0.1', port: 0 }
const SAMPLE = /^([a-z0-9_]+)(?:\{((?:[a-z_]+="[^"]*",?)*)\})? (\S+)$/

/** Returns the sum of the samples whose line contains all the given parts. */
function sum(text: string, name: string, ...parts: readonly string[]): number {
  return text
    .split('\n')
    .filter((line) => SAMPLE.exec(line)?.[1] === name && parts.every((part) => line.includes(part)))
    .reduce((total, line) => total + Number(SAMPLE.exec(line)?.[3]), 0)
}

async function scrape(port: number): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${String(port)}/metrics`)
  if (response.status !== 200) throw new Error(`status ${String(response.status)}`)
  return response.text()
}

void t.test('requests are counted by outcome and timed by stage', async (t) => {
  const server = await startTestServer(t, {
    config: { keyStores: [{ name: 'demo', prefix: '/demo', quota: { requestsPerSecond: 900 } }] },
  })
  const session = await openSession(t, server)
  const sealed = await session.call(
    `/keys/${KEY_ID}/encrypt`,
    encryptBody({ ciphertextDataIntegrityValueAlgorithm: 'SHA_256' }),
  )
  await session.call(`/keys/${KEY_ID}/decrypt`, decryptBody(sealed.json))
  await session.call('/keys/none/metadata', { requestMetadata: requestMetadata('DescribeKey') })
  await session.call('/health', {}, { secretAccessKey: 'x'.repeat(43) })
  await session.call('/nowhere', {})
  const text = await server.running.metrics()

  const count = (...parts: string[]) => sum(text, 'latchkey_requests_total', ...parts)
  t.equal(count('operation="Encrypt"', 'error_name=""', 'key_store="demo"'), 1)
  t.equal(count('operation="Decrypt"', 'error_name=""'), 1)
  t.equal(count('error_name="KeyNotFoundException"', 'reason="KEY_NOT_FOUND"'), 1)
  t.equal(count('error_name="AuthenticationFailedException"', 'reason="SIGNATURE_MISMATCH"'), 1)
  t.equal(count('error_name="InvalidUriPathException"', 'operation=""'), 1)
  t.equal(count(), sum(text, 'latchkey_request_duration_seconds_count'))

  const seconds = (stage: string) =>
    sum(text, 'latchkey_stage_duration_seconds_sum', 'operation="Encrypt"', `stage="${stage}"`)
  const total = sum(text, 'latchkey_request_duration_seconds_sum', 'operation="Encrypt"')
  const stages = STAGES.map(seconds).reduce((a, b) => a + b, 0)
  t.ok(Math.abs(stages / total - 1) < 0.02, 'the stages are the whole')
  const baseline = sum(text, 'latchkey_baseline_seconds', 'operation="Encrypt"')
  const added = sum(text, 'latchkey_added_latency_seconds_sum', 'operation="Encrypt"')
  t.ok(baseline > 0)
  t.ok(Math.abs(added + baseline - total) < 1e-6, 'added is what is beyond the baseline')

  t.equal(sum(text, 'latchkey_quota_requests_per_second', 'key_store="demo"'), 900)
  t.equal(sum(text, 'latchkey_connections'), 1)
  t.equal(sum(text, 'latchkey_tls_handshake_duration_seconds_count', 'http="1.1"'), 1)
  t.equal(sum(text, 'latchkey_gate_refusing'), 0)
  t.ok(sum(text, 'latchkey_gate_lease_left_seconds') > 0)
  t.equal(sum(text, 'latchkey_key_manager_state', 'state="ACTIVE"'), 1)
  const endsAt = sum(text, 'latchkey_certificate_expiry_timestamp_seconds', 'certificate="server"')
  t.ok(endsAt > Date.now() / 1000)
  const id = `access_key_id="${server.credential.accessKeyId}"`
  t.ok(sum(text, 'latchkey_credential_age_seconds', id) >= 0)
  const usedAt = sum(text, 'latchkey_credential_last_used_timestamp_seconds', id)
  t.ok(Math.abs(usedAt - Date.now() / 1000) < 60)
  t.ok(sum(text, 'process_resident_memory_bytes') > 0)
  t.ok(sum(text, 'nodejs_eventloop_lag_p99_seconds') >= 0)

  for (const line of text.split('\n')) {
    if (line !== '' && !line.startsWith('#')) t.match(line, SAMPLE)
  }
  const described = [...text.matchAll(/^# TYPE (latchkey\S+) (\S+)$/gm)]
  t.same(
    Object.fromEntries(described.map(([, name, type]) => [name, type])),
    Object.fromEntries(Object.entries(METRICS).map(([name, { type }]) => [name, type])),
    'each metric of the catalogue has its source',
  )
  t.notMatch(text, server.credential.secretAccessKey.reveal())
  t.notMatch(text, KEY_ID)
  t.notMatch(text, 'arn:aws')
})

void t.test('the port answers GET /metrics and nothing else', async (t) => {
  const program = await serveProgram(t, { metrics })
  const { port } = program.linesOf('listening')[0]?.['metrics'] as { port: number }
  const at = `http://127.0.0.1:${String(port)}`
  const response = await fetch(`${at}/metrics`)
  t.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
  t.match(
    await response.text(),
    /^latchkey_info\{version="\d.*",node="\d.*",instance_id="[-0-9a-f]{36}"\} 1$/m,
  )
  t.equal((await fetch(`${at}/`)).status, 404)
  t.equal((await fetch(`${at}/metrics?x`)).status, 404)
  t.equal((await fetch(`${at}/metrics`, { method: 'POST' })).status, 404)
})

void t.test('worker counts are added, without dead workers', async (t) => {
  const folder = await temporaryFolder(t)
  const { verifierKey } = await openWitnessKey(folder, 'witness.example', () => 0)
  const policy = join(folder, 'witnesses.policy')
  await writeFile(policy, `witness W ${verifierKey} http://127.0.0.1:1\nquorum W\n`)
  const audit = { mode: 'buffered', witnesses: { policy, interval: '1s' } }
  const program = await serveProgram(t, { workers: 2, metrics, audit })
  const { port } = program.linesOf('listening')[0]?.['metrics'] as { port: number }
  const REQUESTS = 10
  for (let i = 0; i < REQUESTS; i++)
    await call(program.server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  const text = await scrape(port)
  t.equal(sum(text, 'latchkey_requests_total', 'operation="Encrypt"'), REQUESTS)
  t.equal(sum(text, 'latchkey_request_duration_seconds_count', 'operation="Encrypt"'), REQUESTS)
  t.equal(
    sum(text, 'latchkey_request_duration_seconds_bucket', 'operation="Encrypt"', 'le="+Inf"'),
    REQUESTS,
  )
  t.equal(sum(text, 'latchkey_info'), 1)
  t.equal(sum(text, 'latchkey_tls_handshake_duration_seconds_count'), REQUESTS)
  const workers = new Set(program.linesOf('request').map((line) => line['worker']))
  await eventually(() => program.linesOf('request').length === REQUESTS)
  t.ok(workers.size <= 2)
  const ids = [...text.matchAll(/^latchkey_credential_age_seconds\{/gm)]
  t.equal(ids.length, 1, 'what all have is there once')
  // The primary contacts the witnesses, while the workers serve the requests.
  const isLacking = (text: string) => /^latchkey_audit_witness_quorum 0$/m.test(text)
  const failing = /^latchkey_audit_witness_state\{witness="witness\.example",state="fails"\} 1$/m
  await eventually(async () => {
    const now = await scrape(port)
    return isLacking(now) && failing.test(now)
  })
})
