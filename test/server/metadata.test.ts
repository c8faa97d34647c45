/** Tests requestMetadata: any metadata is accepted, and logged with the request's outcome. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { KEY_ID, keyId, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import { decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

type Json = Record<string, unknown>

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const DECRYPT = `/keys/${KEY_ID}/decrypt`
const METADATA = `/keys/${KEY_ID}/metadata`
const ZEROS = {
  ciphertext: 'AAAA',
  ciphertextMetadata: 'AQAAAAE=',
  initializationVector: 'AAAAAAAAAAAAAAAA',
  authenticationTag: 'AAAAAAAAAAAAAAAAAAAAAA==',
}

async function requestLines(server: TestServer): Promise<readonly Json[]> {
  return (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
}

/** Sends an Encrypt request with each requestMetadata, expects success, and returns the log lines. */
async function encryptWith(t: Test, all: readonly Json[]): Promise<readonly Json[]> {
  const server = await startTestServer(t)
  const { callAll } = await openSession(t, server)
  const answers = await callAll(
    all.map((one) => ({
      path: ENCRYPT,
      body: encryptBody({ requestMetadata: requestMetadata('Encrypt', one) }),
    })),
  )
  t.same(
    answers.map(({ status }) => status),
    all.map(() => 200),
  )
  const lines = await requestLines(server)
  t.equal(lines.length, all.length, 'one line for each request')
  return lines
}

void t.test('[META-4] each operation accepts an unknown kmsOperation', async (t) => {
  const server = await startTestServer(t)
  const { call } = await openSession(t, server)
  for (const kmsOperation of ['BulkDecrypt', '', 'Encrypt ', 'DROP TABLE', 'ä'.repeat(300)]) {
    const more = { requestMetadata: requestMetadata(kmsOperation) }
    const encrypted = await call(ENCRYPT, encryptBody(more))
    t.equal(encrypted.status, 200)
    t.equal((await call(DECRYPT, decryptBody(encrypted.json, more))).status, 200)
    t.equal((await call(METADATA, more)).status, 200)
    t.equal((await call('/health', more)).status, 200)
  }
  const logged = (await requestLines(server)).map(({ kmsOperation }) => kmsOperation)
  t.equal(logged.filter((operation) => operation === 'BulkDecrypt').length, 4)
})

void t.test('[META-5] kmsRequestId may be any text, and is logged unchanged', async (t) => {
  const ids = [
    '5112f4d6-db54-4af4-ae30-c55a22a8dfae',
    '',
    'not a uuid',
    'with "quotes" and \\ backslashes',
    'two\r\nlines {"level":60,"msg":"forged"}',
    '\u0000\u001b[31m',
    'Füße 鍵 🔑',
    '\u2028\u2029',
    '__proto__',
  ]
  const lines = await encryptWith(
    t,
    ids.map((kmsRequestId) => ({ kmsRequestId })),
  )
  t.same(
    lines.map(({ kmsRequestId }) => kmsRequestId),
    ids,
  )
})

void t.test('[META-5] a long kmsRequestId is truncated in the log, not refused', async (t) => {
  const [line] = await encryptWith(t, [{ kmsRequestId: 'r'.repeat(3000) }])
  t.equal(line?.['kmsRequestId'], `${'r'.repeat(2048)}...`)
})

void t.test('[META-5] half a surrogate pair does not corrupt the log', async (t) => {
  const [line] = await encryptWith(t, [{ kmsRequestId: 'a\ud800b', extra: '\udfff' }])
  t.match(line, { kmsRequestId: /^a.b$/u, status: 200 })
})

void t.test('[META-6] additional fields are accepted and logged separately, as text', async (t) => {
  const [line] = await encryptWith(t, [
    {
      awsSourceAccount: '123456789012',
      number: 1.5,
      nothing: null,
      list: [1, 'two'],
      nested: { a: { b: 'c' } },
      constructor: 'x',
      status: '999',
    },
  ])
  t.same(line?.['otherMetadata'], {
    awsSourceAccount: '123456789012',
    number: '1.5',
    nothing: 'null',
    list: '[1,"two"]',
    nested: '{"a":{"b":"c"}}',
    constructor: 'x',
    status: '999',
  })
  t.equal(line?.['status'], 200, 'they cannot pose as fields of ours')
})

void t.test('[META-6] the logged size of additional fields is limited', async (t) => {
  const many = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`field${String(i)}`, 'v'.repeat(200)]),
  )
  const long = { ['n'.repeat(5000)]: 'v'.repeat(5000) }
  const lines = await encryptWith(t, [many, long])
  const [first = {}, second = {}] = lines.map(({ otherMetadata }) => otherMetadata as Json)
  t.equal(Object.keys(first).length, 16)
  t.same(second, { ['n'.repeat(64)]: 'v'.repeat(256) })
})

void t.test(
  '[META-6] a deeply nested field is accepted up to a limit, and the line is still written',
  async (t) => {
    const server = await startTestServer(t)
    const { call } = await openSession(t, server)
    const metadata = JSON.stringify(requestMetadata('Encrypt', { deep: 0, after: 'it' }))
    const bodyOf = (depth: number) => {
      const deep = metadata.replace(':0', `:${'['.repeat(depth)}${']'.repeat(depth)}`)
      return JSON.stringify(encryptBody({ requestMetadata: 0 })).replace(':0', `:${deep}`)
    }
    t.equal((await call(ENCRYPT, bodyOf(1000))).status, 200)
    const { status, json } = await call(ENCRYPT, bodyOf(20_000))
    t.match({ status, json }, { status: 400, json: { errorName: 'ValidationException' } })
    const [line] = await requestLines(server)
    t.match(line, {
      status: 200,
      kmsOperation: 'Encrypt',
      otherMetadata: { deep: '['.repeat(256), after: 'it' },
    })
  },
)

const FIELDS = {
  awsPrincipalArn: 'arn:aws:sts::123456789012:assumed-role/Admin/Bob',
  awsSourceVpc: 'vpc-111bbb22',
  awsSourceVpce: 'vpce-1a2b3c4d',
  kmsKeyArn: 'arn:aws:kms:us-east-2:123456789012:/key/1234abcd',
  kmsOperation: 'GenerateDataKey',
  kmsRequestId: '4112f4d6-db54-4af4-ae30-c55a22a8dfae',
  kmsViaService: 's3.us-east-1.amazonaws.com',
}

void t.test(
  '[LOG-1] [LOG-3] a line has the metadata, caller, outcome and stage times',
  async (t) => {
    const server = await startTestServer(t)
    const { call } = await openSession(t, server)
    const more = { requestMetadata: FIELDS }
    const sealed = (await call(ENCRYPT, encryptBody(more))).json
    const cdiv = { ...more, ciphertextDataIntegrityValueAlgorithm: 'SHA_256' }
    await call(ENCRYPT, encryptBody(cdiv))
    await call(DECRYPT, decryptBody(sealed, more))
    await call(METADATA, more)
    await call('/health', more)
    const lines = await requestLines(server)
    const stages = ['read', 'auth', 'decode', 'gate']
    const expected = [
      ['Encrypt', [...stages, 'key', 'policy', 'backend', 'encode']],
      ['Encrypt', [...stages, 'key', 'policy', 'backend', 'verify', 'encode']],
      ['Decrypt', [...stages, 'key', 'policy', 'backend', 'encode']],
      ['GetKeyMetadata', [...stages, 'key', 'policy', 'encode']],
      ['GetHealthStatus', [...stages, 'encode']],
    ] as const
    t.equal(lines.length, expected.length)
    for (const [i, [operation, names]] of expected.entries()) {
      const line = lines[i] ?? {}
      t.match(line, {
        ...FIELDS,
        level: 30,
        operation,
        keyStore: 'demo',
        status: 200,
        accessKeyId: server.credential.accessKeyId,
        region: 'us-east-1',
        remoteAddress: '127.0.0.1',
        http: '1.1',
      })
      t.equal(line['keyId'], operation === 'GetHealthStatus' ? undefined : KEY_ID)
      for (const absent of ['errorName', 'reason', 'target', 'method', 'bodySha256', 'err']) {
        t.notOk(absent in line, absent)
      }
      const stagesMs = line['stagesMs'] as Record<string, number>
      t.same(Object.keys(stagesMs), names)
      const times = Object.values(stagesMs)
      t.ok(times.every((ms) => ms >= 0))
      const total = Number(line['totalMs'])
      const sum = times.reduce((all, ms) => all + ms, 0)
      t.ok(sum <= total + 0.01 && total < 10_000, `${String(sum)} of ${String(total)} ms`)
      t.equal(new Date(String(line['time'])).toISOString(), line['time'])
      t.ok(Number(line['bodyBytes']) > 300)
    }
    t.same(
      lines.map(({ keyVersion }) => keyVersion),
      [1, 1, 1, undefined, undefined],
    )
  },
)

void t.test(
  "[LOG-3] a refusal's line has the error name, and our reason if there is one",
  async (t) => {
    const server = await startTestServer(t, { stopped: true })
    const disabled = await server.createKey('disabled')
    const keys = server.administration.keys(server.credential.keyStore)
    await keys.setKeyStatus(keyId(disabled), 'DISABLED')
    await server.createKey('impotent', { encrypt: false, decrypt: false })
    await server.start()
    const { call } = await openSession(t, server)
    await call('/keys/missing/encrypt', encryptBody())
    await call('/keys/disabled/encrypt', encryptBody())
    await call('/keys/impotent/encrypt', encryptBody())
    await call(DECRYPT, decryptBody(ZEROS))
    await call(DECRYPT, decryptBody({ ...ZEROS, ciphertextMetadata: 'AQAAAAk=' }))
    await call(DECRYPT, decryptBody({ ...ZEROS, ciphertextMetadata: 'AAAA' }))
    await call(DECRYPT, decryptBody({ ...ZEROS, authenticationTag: 'AAAA' }))
    await call(ENCRYPT, encryptBody({ plaintext: 'not Base64' }))
    await call(ENCRYPT, encryptBody({ encryptionAlgorithm: 'X' }))
    await call(ENCRYPT, encryptBody(), { secretAccessKey: 'x'.repeat(44) })
    await call('/nowhere', {})
    const lines = await requestLines(server)
    t.same(
      lines.map(({ status, errorName, reason }) => [status, errorName, reason]),
      [
        [404, 'KeyNotFoundException', 'KEY_NOT_FOUND'],
        [400, 'InvalidStateException', 'KEY_DISABLED'],
        [400, 'InvalidKeyUsageException', 'KEY_USAGE'],
        [400, 'InvalidCiphertextException', 'INTEGRITY_FAILURE'],
        [400, 'InvalidCiphertextException', 'VERSION_NOT_FOUND'],
        [400, 'InvalidCiphertextException', 'METADATA'],
        [400, 'InvalidCiphertextException', 'LENGTHS'],
        [400, 'ValidationException', undefined],
        [501, 'UnsupportedOperationException', undefined],
        [401, 'AuthenticationFailedException', 'SIGNATURE_MISMATCH'],
        [404, 'InvalidUriPathException', undefined],
      ],
    )
    for (const line of lines.slice(0, 9)) {
      t.match(line, { kmsRequestId: /^[0-9a-f-]{36}$/, accessKeyId: server.credential.accessKeyId })
    }
    const [unsigned, nowhere] = lines.slice(9)
    t.notOk('kmsRequestId' in (unsigned ?? {}), 'nobody vouches for it')
    t.match(unsigned, { unverifiedKmsRequestId: /^[0-9a-f-]{36}$/, bodySha256: /^[0-9a-f]{64}$/ })
    t.match(nowhere, { method: 'POST', target: `${server.uriPath}/nowhere` })
  },
)
