/**
 * A small KMS on loopback for the real AWS SDK: JSON 1.1, SigV4, and our stand-in, which calls the
 * proxy. Failures have their real causes: a wrong secret, a proxy that is down, another CA.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { type IncomingMessage, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import type { AccessKeyId, KeyStoreName } from '../../src/core/ids.ts'
import { Secret } from '../../src/core/secret.ts'
import {
  type KmsStandIn,
  type KmsStandInOptions,
  createKmsStandIn,
} from '../../src/kms/emulator/emulator.ts'
import { KmsException } from '../../src/kms/emulator/proxy-failure.ts'
import { parseAuthorization } from '../../src/sigv4/authorization-header.ts'
import { WireHeaders, canonicalRequest, stringToSign } from '../../src/sigv4/signed-headers.ts'
import { deriveSigningKey, sha256Hex } from '../../src/sigv4/signing-key.ts'
import { HANDLERS, type Json } from './kms-wire.ts'

/** AWS's own example credential, which works only with this server. */
export const AWS_CREDENTIAL = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
}
const REGION = 'us-east-1'
const ACCOUNT = '111122223333'
const CALLER = { principalArn: `arn:aws:iam::${ACCOUNT}:role/KeyStoreAdministrator` }

/** Long enough for a busy machine; other tests cover the real limit. */
const PATIENT_TIMEOUT_MS = 10_000

export interface KmsServer {
  /** Value for AWS_ENDPOINT_URL_KMS. */
  readonly url: string
  readonly kms: KmsStandIn
  /** Names of the operations called, in order. */
  readonly calls: string[]
  /** Bodies of the same calls. */
  readonly bodies: Json[]
  /** Makes the next call of an operation fail with this exception. */
  failNext(operation: string, exception: string): void
  /** Environment for the program as a process. */
  readonly environment: Record<string, string>
}

export interface KmsServerOptions extends Partial<KmsStandInOptions> {
  readonly clock?: Clock
}

export async function startKmsServer(t: Test, options: KmsServerOptions): Promise<KmsServer> {
  const kms = createKmsStandIn({
    clock: systemClock,
    region: REGION,
    accountId: ACCOUNT,
    timeoutMs: PATIENT_TIMEOUT_MS,
    ...options,
  })
  const calls: string[] = []
  const bodies: Json[] = []
  const failures = new Map<string, string>()

  async function answer(request: IncomingMessage, body: Buffer): Promise<Json> {
    checkSignature(request, body)
    const operation = String(request.headers['x-amz-target']).replace(/^TrentService\./, '')
    const handler = HANDLERS.get(operation)
    if (handler === undefined) throw new Refusal('UnknownOperationException', operation)
    const input = JSON.parse(body.toString('utf8')) as Json
    calls.push(operation)
    bodies.push(input)
    const failure = failures.get(operation)
    failures.delete(operation)
    if (failure !== undefined) throw new Refusal(failure, 'as the test wants it')
    return handler(kms, input, CALLER)
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const write = (status: number, body: Json) => {
        response.writeHead(status, {
          'content-type': 'application/x-amz-json-1.1',
          'x-amzn-requestid': randomUUID(),
        })
        response.end(JSON.stringify(body))
      }
      answer(request, Buffer.concat(chunks)).then(
        (body) => {
          write(200, body)
        },
        (error: unknown) => {
          const known = error instanceof KmsException || error instanceof Refusal
          const type = known ? error.code : 'KMSInternalException'
          const message = error instanceof Error ? error.message : ''
          write(known ? 400 : 500, { __type: type, message })
        },
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await kms.close()
  })
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
  return {
    url,
    kms,
    calls,
    bodies,
    failNext(operation, exception) {
      failures.set(operation, exception)
    },
    environment: {
      AWS_ENDPOINT_URL_KMS: url,
      AWS_REGION: REGION,
      AWS_ACCESS_KEY_ID: AWS_CREDENTIAL.accessKeyId,
      AWS_SECRET_ACCESS_KEY: AWS_CREDENTIAL.secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
  }
}

class Refusal extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** Verifies with the functions that verify KMS's own requests. @throws Refusal */
function checkSignature(request: IncomingMessage, body: Buffer): void {
  const headers = new WireHeaders(request.rawHeaders)
  const authorization = parseAuthorization(headers.single('authorization') ?? '')
  if (authorization?.scope.service !== 'kms' || authorization.scope.region !== REGION) {
    throw new Refusal('IncompleteSignatureException', 'no signature for KMS in this region')
  }
  if (authorization.accessKeyId !== AWS_CREDENTIAL.accessKeyId) {
    throw new Refusal('UnrecognizedClientException', 'no such access key id')
  }
  const canonical = canonicalRequest({
    method: request.method ?? '',
    canonicalUri: request.url ?? '',
    canonicalQuery: '',
    headers: authorization.signedHeaders.map((name) => [name, headers.canonical(name) ?? '']),
    bodyHash: sha256Hex(body),
  })
  const credential = {
    accessKeyId: AWS_CREDENTIAL.accessKeyId as AccessKeyId,
    keyStore: 'aws' as KeyStoreName,
    secretAccessKey: new Secret(AWS_CREDENTIAL.secretAccessKey),
  }
  const text = stringToSign(headers.single('x-amz-date') ?? '', authorization.scope, canonical)
  const expected = deriveSigningKey(credential.secretAccessKey, authorization.scope).sign(text)
  if (expected !== authorization.signature) {
    throw new Refusal('InvalidSignatureException', 'the signature does not match the request')
  }
}
