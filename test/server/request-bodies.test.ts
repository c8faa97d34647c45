/** Tests bodies that violate openapi.yaml: each is refused with a message that quotes none of the input. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { checkError } from '../support/answers.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { openSession, type Session } from '../support/session.ts'
import { decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

type Json = Record<string, unknown>

const BODIES = {
  metadata: () => ({ requestMetadata: requestMetadata('DescribeKey') }),
  encrypt: () =>
    encryptBody({
      additionalAuthenticatedData: 'AAAA',
      ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
    }),
  decrypt: () =>
    decryptBody({
      ciphertext: 'AAAA',
      ciphertextMetadata: 'AQAAAAE=',
      initializationVector: 'AAAAAAAAAAAAAAAA',
      authenticationTag: 'AAAAAAAAAAAAAAAAAAAAAA==',
    }),
  health: () => ({ requestMetadata: requestMetadata('KmsHealthCheck') }),
} satisfies Record<string, () => Json>
type Operation = keyof typeof BODIES
const OPERATIONS = Object.keys(BODIES) as Operation[]

const pathOf = (operation: Operation) =>
  operation === 'health' ? '/health' : `/keys/${KEY_ID}/${operation}`

/** Marker contained in every value sent, so that quoted input is detected. */
const MARKER = 'Zq9EchoMarker'

async function start(t: Test): Promise<Session> {
  return openSession(t, await startTestServer(t))
}

async function checkRefused(
  t: Test,
  session: Session,
  request: { readonly operation: Operation; readonly body: Json | string | Buffer },
  message: string,
): Promise<void> {
  const answer = await session.call(pathOf(request.operation), request.body)
  checkError(t, answer, 'ValidationException', { message })
  t.notMatch(answer.body, MARKER)
}

void t.test('text that is not JSON', async (t) => {
  const session = await start(t)
  const good = JSON.stringify(BODIES.encrypt())
  const texts = [
    '',
    ' ',
    '{',
    '}',
    MARKER,
    `{"${MARKER}":`,
    `{'${MARKER}':1}`,
    `{"a":1,}`,
    `{"a":01}`,
    `{"a":NaN}`,
    `{"a":"\t${MARKER}"}`,
    `{"a":"\\x"}`,
    `${good}x`,
    `${good}${good}`,
    `\ufeff${good}`,
    `/* ${MARKER} */${good}`,
    '[',
    '['.repeat(1000),
    '{"a":'.repeat(1000),
  ]
  for (const body of texts) {
    for (const operation of OPERATIONS) {
      await checkRefused(t, session, { operation, body }, 'The request body is not valid JSON.')
    }
  }
})

void t.test('a body with too many parts is refused before it is parsed', async (t) => {
  const session = await start(t)
  const parts = ['['.repeat(20_000), '{"a":'.repeat(5000), `[${'1,'.repeat(1001)}1]`]
  for (const body of parts) {
    for (const operation of OPERATIONS) {
      await checkRefused(
        t,
        session,
        { operation, body },
        'The request body has too many fields, elements or objects.',
      )
    }
  }
})

void t.test('bytes that are not UTF-8', async (t) => {
  const session = await start(t)
  for (const bytes of ['ff', 'c3', 'c080', 'eda080', 'f8888080']) {
    const body = Buffer.concat([
      Buffer.from(`{"${MARKER}":"`),
      Buffer.from(bytes, 'hex'),
      Buffer.from('"}'),
    ])
    for (const operation of OPERATIONS) {
      await checkRefused(t, session, { operation, body }, 'The request body is not UTF-8.')
    }
  }
  const utf16 = Buffer.from(JSON.stringify(BODIES.encrypt()), 'utf16le')
  await checkRefused(
    t,
    session,
    { operation: 'encrypt', body: utf16 },
    'The request body is not valid JSON.',
  )
})

void t.test('JSON that is not an object', async (t) => {
  const session = await start(t)
  const deep = `${'['.repeat(1000)}${']'.repeat(1000)}`
  const texts = ['null', 'true', '0', '1e999', `"${MARKER}"`, '[]', `["${MARKER}"]`, '[{}]', deep]
  for (const body of texts) {
    for (const operation of OPERATIONS) {
      await checkRefused(t, session, { operation, body }, 'Invalid request body:  must be object.')
    }
  }
})

const METADATA_FIELDS = {
  metadata: ['awsPrincipalArn', 'kmsOperation', 'kmsRequestId'],
  encrypt: ['awsPrincipalArn', 'kmsKeyArn', 'kmsOperation', 'kmsRequestId'],
  decrypt: ['awsPrincipalArn', 'kmsKeyArn', 'kmsOperation', 'kmsRequestId'],
  health: ['kmsOperation', 'kmsRequestId'],
} as const
const FIELDS = {
  metadata: [],
  encrypt: ['plaintext', 'encryptionAlgorithm'],
  decrypt: ['ciphertext', 'encryptionAlgorithm', 'initializationVector', 'authenticationTag'],
  health: [],
} as const
const OPTIONAL = {
  metadata: [],
  encrypt: ['additionalAuthenticatedData', 'ciphertextDataIntegrityValueAlgorithm'],
  decrypt: ['additionalAuthenticatedData', 'ciphertextMetadata'],
  health: [],
} as const

function without(body: Json, field: string): Json {
  return Object.fromEntries(Object.entries(body).filter(([name]) => name !== field))
}

void t.test('[META-7] a missing required field is named', async (t) => {
  const session = await start(t)
  for (const operation of OPERATIONS) {
    const body: Json = BODIES[operation]()
    for (const field of ['requestMetadata', ...FIELDS[operation]]) {
      const message = `Invalid request body:  must have required property '${field}'.`
      await checkRefused(t, session, { operation, body: without(body, field) }, message)
    }
    for (const field of METADATA_FIELDS[operation]) {
      const metadata = without(body['requestMetadata'] as Json, field)
      const message = `Invalid request body: /requestMetadata must have required property '${field}'.`
      await checkRefused(
        t,
        session,
        { operation, body: { ...body, requestMetadata: metadata } },
        message,
      )
    }
  }
  const kmsKeyArn = without(requestMetadata('CreateKey'), 'kmsKeyArn')
  const answer = await session.call(pathOf('metadata'), { requestMetadata: kmsKeyArn })
  t.equal(answer.status, 200, 'CreateKey has no kmsKeyArn yet')
})

const NOT_STRINGS = [null, 0, 1.5, true, [], {}, [MARKER], { [MARKER]: MARKER }]

void t.test('a field with the wrong type is named by its path', async (t) => {
  const session = await start(t)
  for (const operation of OPERATIONS) {
    const body: Json = BODIES[operation]()
    for (const value of NOT_STRINGS) {
      for (const field of [...FIELDS[operation], ...OPTIONAL[operation]]) {
        const message = `Invalid request body: /${field} must be string.`
        await checkRefused(t, session, { operation, body: { ...body, [field]: value } }, message)
      }
      for (const field of METADATA_FIELDS[operation]) {
        const requestMetadata = { ...(body['requestMetadata'] as Json), [field]: value }
        const message = `Invalid request body: /requestMetadata/${field} must be string.`
        await checkRefused(t, session, { operation, body: { ...body, requestMetadata } }, message)
      }
    }
    for (const requestMetadata of [null, 0, MARKER, [], [{}]]) {
      const message = 'Invalid request body: /requestMetadata must be object.'
      await checkRefused(t, session, { operation, body: { ...body, requestMetadata } }, message)
    }
  }
})

/** Strings that Node's decoder accepts although they are not canonical Base64 (RFC 4648, section 4). */
const NOT_BASE64 = [
  'A',
  'AA',
  'AAA',
  'AA=',
  'AAA==',
  'AAAA=',
  'AAAA====',
  '=',
  '====',
  'AB==',
  'AAB=',
  'AA==AA==',
  'AA-_',
  '-_-_',
  'AAAA\n',
  ' AAAA',
  'AAAA ',
  'AA\r\nAA',
  'AA AA',
  'AA.A',
  'AA\u0000A',
  'AAÄA',
  'ＡＡＡＡ',
  MARKER,
]

void t.test("text that is not standard Base64, with the field's name", async (t) => {
  const session = await start(t)
  const fields = {
    encrypt: ['plaintext', 'additionalAuthenticatedData'],
    decrypt: [
      'ciphertext',
      'additionalAuthenticatedData',
      'initializationVector',
      'authenticationTag',
      'ciphertextMetadata',
    ],
  }
  for (const operation of ['encrypt', 'decrypt'] as const) {
    for (const field of fields[operation]) {
      for (const text of NOT_BASE64) {
        const body = { ...BODIES[operation](), [field]: text }
        const message = `${field} is not standard Base64 with padding.`
        await checkRefused(t, session, { operation, body }, message)
      }
    }
  }
})

void t.test('unknown fields are accepted, whatever they contain', async (t) => {
  const session = await start(t)
  const more: Json = {
    [MARKER]: MARKER,
    constructor: 1,
    toString: null,
    'a/b~c': [],
    '': {},
  }
  for (const operation of ['metadata', 'encrypt', 'health'] as const) {
    const body = { ...BODIES[operation](), ...more }
    const answer = await session.call(pathOf(operation), body)
    t.equal(answer.status, 200, answer.body)
    t.notMatch(answer.body, MARKER)
  }
})

void t.test('__proto__ is a field like any other, and sets no prototype', async (t) => {
  const session = await start(t)
  const metadata = JSON.stringify(requestMetadata('Encrypt'))
  for (const body of [
    `{"__proto__":{"requestMetadata":${metadata}}}`,
    `{"requestMetadata":{"__proto__":${metadata}}}`,
    `{"requestMetadata":{"constructor":{"prototype":${metadata}}}}`,
  ]) {
    const answer = await session.call(pathOf('metadata'), body)
    checkError(t, answer, 'ValidationException')
    t.match(answer.json['errorMessage'], /must have required property/)
  }
  const polluting = `{"__proto__":{"errorName":"${MARKER}"},"requestMetadata":{"__proto__":{"kmsViaService":"${MARKER}"},${metadata.slice(1)}}`
  t.equal((await session.call(pathOf('metadata'), polluting)).status, 200)
  t.notMatch((await session.call(pathOf('metadata'), BODIES.metadata())).body, MARKER)
  t.equal(Object.hasOwn(Object.prototype, 'errorName'), false)
})

void t.test('the last of two fields with the same name counts, everywhere', async (t) => {
  const session = await start(t)
  const metadata = JSON.stringify(requestMetadata('Encrypt'))
  const body = `{"plaintext":"AAAA","requestMetadata":{},"requestMetadata":${metadata},"encryptionAlgorithm":"AES_GCM","plaintext":"AAEC"}`
  const encrypted = (await session.call(pathOf('encrypt'), body)).json
  const opened = await session.call(pathOf('decrypt'), decryptBody(encrypted))
  t.same(opened.json, { plaintext: 'AAEC' })
  const last = body.replace('"AAEC"', 'null')
  checkError(t, await session.call(pathOf('encrypt'), last), 'ValidationException')
})
