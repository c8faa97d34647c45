/** Checks that each kind of bad request gets the right error name, status and format. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { probeAad } from '../../core/probe.ts'
import {
  decryptBody,
  encryptBody,
  probeHealthBody,
  getKeyMetadataBody,
  probeMetadata,
  type DecryptArguments,
} from '../../kms/client/requests.ts'
import { describe, faultsOfError } from './answers.ts'
import { createReporter, type Finding } from './finding.ts'
import { encrypt, sealedOf } from './operations.ts'
import type { Ask, Session } from './session.ts'

const { ok, fail, skip, judge } = createReporter('errors')
const MEND =
  'KMS reports the errorName to its callers, and treats any other format as malformed (see XKS 1.0.3, Error codes)'

const VALIDATION = { ValidationException: 400 }
const UNSUPPORTED = { UnsupportedOperationException: 501, ValidationException: 400 }
const CIPHERTEXT = { InvalidCiphertextException: 400 }

async function expectError(
  session: Session,
  check: string,
  what: string,
  ask: Ask,
  expected: Readonly<Record<string, number>>,
): Promise<Finding> {
  const answer = await session.ask(ask)
  const faults = faultsOfError(answer, expected)
  return judge(
    `error-${check}`,
    `${what}: ${describe(answer)}`,
    faults.map((fault) => `${what}: ${fault}`),
    MEND,
  )
}

export async function checkErrors(session: Session): Promise<readonly Finding[]> {
  const { region } = session.remote.credential
  const unknown = `doctor-${randomBytes(8).toString('hex')}`
  const sealed = {
    ciphertext: randomBytes(32),
    initializationVector: randomBytes(12),
    authenticationTag: randomBytes(16),
  }
  const bodies = {
    GetKeyMetadata: getKeyMetadataBody(probeMetadata('DescribeKey', region)),
    Encrypt: encryptBody(probeMetadata('Encrypt', region), { plaintext: randomBytes(32) }),
    Decrypt: decryptBody(probeMetadata('Decrypt', region), sealed),
  }
  const findings: Finding[] = []
  for (const [operation, body] of Object.entries(bodies)) {
    const path = operation === 'GetKeyMetadata' ? 'metadata' : operation.toLowerCase()
    const ask = { path: `/keys/${unknown}/${path}`, body }
    const what = `${operation} with a key that does not exist`
    findings.push(
      await expectError(session, `no-key-${path}`, what, ask, { KeyNotFoundException: 404 }),
    )
  }
  const health = probeHealthBody()
  const refuse = (
    check: string,
    what: string,
    ask: Ask,
    expected: Readonly<Record<string, number>>,
  ) => expectError(session, check, what, ask, expected)
  return [
    ...findings,
    await refuse(
      'path',
      'a path without an operation',
      { path: '/invalid', body: health },
      {
        InvalidUriPathException: 404,
      },
    ),
    await refuse('json', 'a body that is not JSON', { path: '/health', body: '{' }, VALIDATION),
    await refuse(
      'fields',
      'a body without the required fields',
      { path: '/health', body: '{}' },
      VALIDATION,
    ),
    await checkMethod(session),
  ]
}

/** Checks that the proxy returns 405 for GET (XKS 1.0.3, API operations). */
async function checkMethod(session: Session): Promise<Finding> {
  const answer = await session.ask({ path: '/health', body: '', method: 'GET' })
  return answer.status === 405
    ? ok('error-method', 'GET: 405')
    : fail(
        'error-method',
        `GET: expected 405, found ${describe(answer)}`,
        'see XKS 1.0.3, API operations',
      )
}

/** Runs the checks that need an existing key. */
export async function checkKeyErrors(session: Session, keyId: string): Promise<readonly Finding[]> {
  const { region } = session.remote.credential
  const path = `/keys/${keyId}/encrypt`
  const good = {
    requestMetadata: probeMetadata('Encrypt', region),
    plaintext: 'AAAA',
    encryptionAlgorithm: 'AES_GCM',
  }
  const send = (
    check: string,
    what: string,
    change: object,
    expected: Readonly<Record<string, number>>,
  ) =>
    expectError(
      session,
      check,
      what,
      { path, body: JSON.stringify({ ...good, ...change }) },
      expected,
    )
  return [
    await send(
      'algorithm',
      'an unknown encryptionAlgorithm',
      { encryptionAlgorithm: 'DES' },
      UNSUPPORTED,
    ),
    await send('base64', 'a plaintext that is not Base64', { plaintext: '!' }, VALIDATION),
    await send('plaintext', 'Encrypt without a plaintext', { plaintext: undefined }, VALIDATION),
    await send(
      'metadata',
      'Encrypt without requestMetadata',
      { requestMetadata: undefined },
      VALIDATION,
    ),
    ...(await checkCiphertexts(session, keyId)),
  ]
}

async function checkCiphertexts(session: Session, keyId: string): Promise<readonly Finding[]> {
  const aad = probeAad(32)
  const sealed = sealedOf(await encrypt(session, keyId, { plaintext: randomBytes(32), aad }), aad)
  if (sealed === undefined) {
    return [
      skip(
        'error-ciphertext',
        'tampered ciphertexts: not tested, because no ciphertext could be created',
      ),
    ]
  }
  const findings: Finding[] = []
  for (const [name, changed] of Object.entries(changes(sealed))) {
    const { region } = session.remote.credential
    const body = decryptBody(probeMetadata('Decrypt', region), changed)
    const ask = { path: `/keys/${keyId}/decrypt`, body }
    const what = `Decrypt with ${name}`
    const check = `changed-${name.replaceAll(' ', '-')}`
    findings.push(await expectError(session, check, what, ask, CIPHERTEXT))
  }
  return findings
}

/** Returns requests with exactly one error each. */
function changes(sealed: DecryptArguments): Readonly<Record<string, DecryptArguments>> {
  const { aad, ...withoutAad } = sealed
  const { ciphertextMetadata: metadata, ...withoutMetadata } = sealed
  return {
    'another ciphertext': { ...sealed, ciphertext: flip(sealed.ciphertext) },
    'another tag': { ...sealed, authenticationTag: flip(sealed.authenticationTag) },
    'another IV': { ...sealed, initializationVector: flip(sealed.initializationVector) },
    'another AAD': { ...sealed, aad: flip(aad ?? Buffer.from('x')) },
    'no AAD': withoutAad,
    ...(metadata === undefined
      ? {}
      : {
          'other metadata': { ...sealed, ciphertextMetadata: flip(metadata) },
          'no metadata': withoutMetadata,
          // The length of ciphertextMetadata must be authenticated to separate the metadata from
          // the AAD (XKS 1.0.3, Encrypt, note on ciphertextMetadata).
          'metadata moved into AAD': {
            ...withoutMetadata,
            aad: Buffer.concat([aad ?? Buffer.alloc(0), metadata]),
          },
        }),
  }
}

/** Flips the last bit. In Latchkey's metadata, this changes the key version. */
function flip(bytes: Buffer): Buffer {
  const changed = Buffer.from(bytes)
  const last = changed.length - 1
  if (last >= 0) changed[last] = (changed[last] ?? 0) ^ 1
  return changed
}
