/** Runs `latchkey doctor` as a program, against the real server. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { startBrokenProxy } from '../support/broken-proxy.ts'
import { latchkey, latchkeyHere } from '../support/cli.ts'
import { writeConsoleFile } from '../support/console-file.ts'
import { testPki } from '../support/pki.ts'
import { KEY_ID, startTestServer, type TestServerOptions } from '../support/server.ts'

interface Document {
  readonly counts: Record<string, number>
  readonly findings: readonly { check: string; verdict: string; mend?: string }[]
  readonly timingsMs: Record<string, { count: number; p50: number; p999: number }>
}

const QUICK = ['--idle', '1', '--requests', '20', '--connections', '3']
/** Checks that fail on a test server, which has no public name or public certificate and does not use port 443. */
const PRIVATE = 'host-name,port,tls-authority'
/** Names of the doctor checks that may fail on a busy machine, for runs with and without a key. */
const TIMING = 'time-encrypt,time-decrypt,time-new-connection'
const UNKEYED_TIMING = 'time-gethealthstatus,time-new-connection'
const KEYED_TRIAL = ['--ignore', `${PRIVATE},${TIMING}`]
const UNKEYED_TRIAL = ['--ignore', `${PRIVATE},${UNKEYED_TIMING}`]

async function start(t: Test, options: TestServerOptions = {}) {
  const server = await startTestServer(t, options)
  const credential = await writeConsoleFile(server)
  const endpoint = `https://localhost:${String(server.port)}`
  return {
    server,
    words: ['doctor', '-e', endpoint, '--credential', credential, '--ca', server.pki.caFile],
  }
}

void t.test('a healthy proxy passes, and checking it changes nothing', async (t) => {
  const { server, words } = await start(t)
  const secret = server.credential.secretAccessKey.reveal()
  const keys = server.administration.keys(server.credential.keyStore)
  // Encrypting increments a key's usage count but changes nothing else.
  const describeKeys = async () =>
    JSON.stringify(await keys.listKeys(), (name, value: unknown) =>
      name === 'encryptions' ? undefined : value,
    )
  const before = await describeKeys()
  const { code, stdout, stderr } = await latchkey(t, [
    ...words,
    '-k',
    KEY_ID,
    ...QUICK,
    ...KEYED_TRIAL,
  ])
  t.equal(code, 0, stderr)
  for (const title of ['Address', 'TLS', 'HTTP', 'Operations', 'Sizes', 'Errors', 'Signatures']) {
    t.match(stdout, new RegExp(`^${title}$`, 'm'))
  }
  t.match(stdout, /^ {2}ms +p50 +p90 +p99 +p99\.9 +max +n$/m)
  // A busy machine may add warnings about latency.
  t.match(stdout, /^0 fail, [0-2] warn, \d+ ok, 6 skipped$/m)
  t.notMatch(stdout + stderr, secret)
  t.equal(await describeKeys(), before)
  const lines = await server.stopAndReadLog()
  t.notMatch(JSON.stringify(lines), secret)
})

void t.test('with --json, and a key whose private authority is not AWS’s', async (t) => {
  const { server, words } = await start(t)
  const all = [...words, '-k', KEY_ID, ...QUICK, '--json', '--ignore', TIMING]
  const { code, stdout, stderr } = await latchkey(t, all)
  t.equal(code, 0)
  const document = JSON.parse(stdout) as Document
  const authority = document.findings.find(({ check }) => check === 'tls-authority')
  t.equal(authority?.verdict, 'warn')
  t.equal(document.counts['fail'], 0)
  const strict = await latchkey(t, [...all, '--strict'])
  t.equal(strict.code, 1)
  t.match(JSON.parse(strict.stderr), { error: { code: 'DOCTOR_FAILED' } })
  t.equal(document.timingsMs['Encrypt']?.count, 20)
  t.equal(document.timingsMs['total']?.count, 3)
  t.notMatch(stdout + stderr, server.credential.secretAccessKey.reveal())
})

void t.test('without a key, from the environment, and strict', async (t) => {
  const { server, words } = await start(t)
  const [name = '', flag = '', endpoint = ''] = words
  const environment = {
    LATCHKEY_XKS_ACCESS_KEY_ID: server.credential.accessKeyId,
    LATCHKEY_XKS_SECRET_ACCESS_KEY: server.credential.secretAccessKey.reveal(),
  }
  const more = ['--ca', server.pki.caFile, ...QUICK, '--ignore', `tls-authority,${UNKEYED_TIMING}`]
  const all = [name, flag, `${endpoint}${server.uriPath}`, ...more]
  const { code, stdout } = await latchkey(t, all, { environment })
  t.equal(code, 0)
  t.match(
    stdout,
    /skip +GetKeyMetadata, Encrypt, Decrypt and sizes: not tested; pass a key with --key-id/,
  )
  const strict = await latchkey(t, [...all, '--strict'], { environment })
  t.equal(strict.code, 1)
  // Two warnings are expected, but a busy machine may add warnings about latency.
  t.match(strict.stderr, /0 checks failed, and [2-9] gave warnings/)
})

void t.test('a wrong secret is reported by the health check and not printed', async (t) => {
  const { server, words } = await start(t)
  const secret = 'x'.repeat(44)
  const file = await writeConsoleFile(server, secret)
  const all = [...words.slice(0, 4), file, ...words.slice(5), ...QUICK]
  const { code, stdout, stderr } = await latchkey(t, all)
  t.equal(code, 1)
  t.match(
    stdout,
    /fail +the response was 401 "AuthenticationFailedException"\n +-> check that the credential/,
  )
  t.notMatch(stdout + stderr, secret)
})

void t.test('mTLS: refused without a certificate, served with one', async (t) => {
  const subject = 'cks.kms.us-east-1.amazonaws.com'
  const { caFile } = await testPki()
  const { server, words: all } = await start(t, {
    config: { listener: { clientCertificate: { ca: caFile, subjects: [subject] } } },
  })
  const files = await server.pki.issue('doctor-cli', { commonName: subject, usage: 'client' })
  const without = await latchkey(t, [...all, ...QUICK])
  t.equal(without.code, 1)
  t.match(without.stdout, /warn +a client certificate is requested, but none was sent/)
  t.match(without.stdout, /fail .*\n +-> .*--client-certificate {2}\[api-unanswered\]/)
  const shown = [
    '--client-certificate',
    files.certificateFile,
    '--client-key',
    files.privateKeyFile,
  ]
  const with_ = await latchkey(t, [...all, ...shown, ...QUICK, ...UNKEYED_TRIAL])
  t.equal(with_.code, 0, with_.stdout)
})

void t.test('connections that are closed while doctor is waiting', async (t) => {
  const { server, words } = await start(t)
  const { port } = await startBrokenProxy(t, server, { keepAliveMs: 100 })
  const all = words.map((word) => word.replace(String(server.port), String(port)))
  const { code, stdout } = await latchkey(t, [
    ...all,
    '--idle',
    '9',
    ...QUICK.slice(2),
    ...UNKEYED_TRIAL,
  ])
  t.equal(code, 0, stdout)
  t.match(stdout, /warn +connections are closed after \d+\.\d s without a request/)
})

void t.test('reports that nothing is listening, and rejects invalid flags', async (t) => {
  const { server, words } = await start(t)
  await server.stop()
  const gone = await latchkey(t, [...words, ...QUICK])
  t.equal(gone.code, 1)
  t.match(gone.stdout, /fail +connect ECONNREFUSED/)
  const usage = [
    [['doctor'], /--credential is missing/],
    [[...words, '--key-id', 'a/b'], /--key-id: expected an external key id/],
    [[...words, '--requests', '0'], /--requests: expected a number from 1/],
    [[...words, '--client-key', 'x'], /must be given together/],
    [['doctor', '-e', 'http://localhost', ...words.slice(3)], /expected https:/],
  ] as const
  for (const [line, says] of usage) {
    const { code, stderr } = await latchkeyHere(line)
    t.ok(code === 64 || code === 65, line.join(' '))
    t.match(stderr, says)
  }
})
