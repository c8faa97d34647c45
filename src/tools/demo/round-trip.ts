/** Makes one signed call to each operation and checks the responses. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import { probeAad } from '../../core/probe.ts'
// Used only to pause between retries; no request depends on this timer.
import { setTimeout as sleep } from 'node:timers/promises'
import { LatchkeyError } from '../../core/errors.ts'
import { Secret } from '../../core/secret.ts'
import { type KmsSideClient, type KmsSideResponse, createKmsSideClient } from '../../kms/client/client.ts'
import type { components } from '../../openapi/types.gen.ts'
import { computeCdiv } from '../../xks/wire-bytes.ts'
import { type Demo, readCredential } from './demo.ts'

type Schemas = components['schemas']

export interface Step {
  readonly name: string
  readonly status: number
  readonly totalMs: number
  readonly remark: string
}

const bytes = (text: string) => Buffer.from(text, 'base64')

/** @throws LatchkeyError if a response differs from the expected one */
export async function roundTrip(demo: Demo, port: number): Promise<readonly Step[]> {
  const { accessKeyId, secretAccessKey } = await readCredential(demo)
  const client = createKmsSideClient({
    isProbe: true,
    endpoint: `https://localhost:${String(port)}`,
    uriPath: demo.uriPath,
    accessKeyId,
    secretAccessKey: new Secret(secretAccessKey),
    region: 'us-east-1',
    caFile: demo.caFile,
  })
  try {
    return await callAll(client, demo.keyId)
  } finally {
    await client.close()
  }
}

/** Errors that KMS retries and that a running proxy can return. */
const RETRYABLE: readonly unknown[] = [
  'ThrottlingException',
  'DependencyTimeoutException',
  'InternalException',
]
const TRIES = 6
const FIRST_PAUSE_MS = 50

/**
 * Retries a request on errors that KMS retries, doubling the delay each time. Returns the last
 * response.
 */
async function askAsKms(ask: () => Promise<KmsSideResponse>): Promise<KmsSideResponse> {
  let response = await ask()
  for (let i = 0; i < TRIES - 1 && isRetryable(response); i++) {
    await sleep(FIRST_PAUSE_MS * 2 ** i)
    response = await ask()
  }
  return response
}

function isRetryable({ status, body }: KmsSideResponse): boolean {
  const { errorName } = (body ?? {}) as Record<string, unknown>
  return status !== 200 && RETRYABLE.includes(errorName)
}

async function callAll(client: KmsSideClient, keyId: string): Promise<readonly Step[]> {
  const steps: Step[] = []
  const take = (name: string, response: KmsSideResponse, remark: string) => {
    if (response.status !== 200) fail(`the response to ${name} was ${JSON.stringify(response.body)}`)
    steps.push({ name, status: response.status, totalMs: response.totalMs, remark })
  }
  const health = await askAsKms(() => client.getHealthStatus())
  take('GetHealthStatus', health, 'includes TCP, TLS and the first request')
  const metadata = await askAsKms(() => client.getKeyMetadata(keyId))
  take('GetKeyMetadata', metadata, 'on the same connection, like the requests below')

  const plaintext = randomBytes(32)
  const aad = probeAad(32)
  const encrypted = await askAsKms(() => client.encrypt(keyId, { plaintext, aad, cdiv: true }))
  take('Encrypt', encrypted, '32 bytes, with a correct data integrity value')
  const sealed = encrypted.body as Schemas['EncryptResponse']
  const input = {
    ciphertext: bytes(sealed.ciphertext),
    initializationVector: bytes(sealed.initializationVector),
    authenticationTag: bytes(sealed.authenticationTag),
    ciphertextMetadata: bytes(sealed.ciphertextMetadata),
    aad,
  }
  const expected = computeCdiv({
    aad,
    metadata: input.ciphertextMetadata,
    iv: input.initializationVector,
    ciphertext: input.ciphertext,
    tag: input.authenticationTag,
  })
  if (expected.toString('base64') !== sealed.ciphertextDataIntegrityValue) {
    fail('the ciphertext data integrity value is wrong')
  }
  const decrypted = await askAsKms(() => client.decrypt(keyId, input))
  take('Decrypt', decrypted, 'the same 32 bytes')
  if (!bytes((decrypted.body as Schemas['DecryptResponse']).plaintext).equals(plaintext)) {
    fail('the decrypted bytes differ from the plaintext')
  }
  return steps
}

function fail(message: string): never {
  throw new LatchkeyError('ROUND_TRIP_FAILED', message)
}
