/** Builds a request pipeline without a listener or a store. */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../src/core/deadline.ts'
import type { ExternalKeyId } from '../../src/core/ids.ts'
import { enforceContract } from '../../src/keys/contract.ts'
import type { BackendKey, KeyBackend, KeyDescription } from '../../src/keys/key-backend.ts'
import { systemClock } from '../../src/core/clock.ts'
import { createGate, type Gate } from '../../src/killswitch/gate/gate.ts'
import { type Authorizer, createAuthorizer } from '../../src/policy/authorizer.ts'
import { createRules } from '../../src/killswitch/gate/rules.ts'
import { createApiSchemas } from '../../src/openapi/schemas.ts'
import type { Verifier } from '../../src/sigv4/verify.ts'
import type { KeyStore } from '../../src/xks/key-store.ts'
import { createPipeline } from '../../src/xks/pipeline.ts'
import type { RawRequest } from '../../src/xks/request-context.ts'
import type { RequestRecord } from '../../src/core/request.ts'
import { makeCredential, storeName } from './credential.ts'
import { keyId } from './server.ts'
import { decryptBody, encryptBody, requestMetadata } from './wire.ts'

export const schemas = createApiSchemas()
const ROOT = '/demo/kms/xks/v1'
export const DEADLINE_MS = 50
export const SEALED = {
  ciphertext: Buffer.alloc(32, 1),
  iv: Buffer.alloc(12, 2),
  tag: Buffer.alloc(16, 3),
}
export const KEY = {
  keyId: keyId('key'),
  enabled: true,
  canEncrypt: true,
  canDecrypt: true,
  currentVersion: 1,
}
export const ENCRYPT = { path: '/keys/key/encrypt', body: encryptBody() }
export const DECRYPT = {
  path: '/keys/key/decrypt',
  body: decryptBody({
    ciphertext: SEALED.ciphertext.toString('base64'),
    ciphertextMetadata: 'AQAAAAE=',
    initializationVector: SEALED.iv.toString('base64'),
    authenticationTag: SEALED.tag.toString('base64'),
  }),
}
export const METADATA = {
  path: '/keys/key/metadata',
  body: { requestMetadata: requestMetadata('DescribeKey') },
}
export const HEALTH = {
  path: '/health',
  body: { requestMetadata: requestMetadata('KmsHealthCheck') },
}

export const never = () => new Promise<never>(() => undefined)

export interface Setting {
  /** Methods that override the methods of the backend and its only key. */
  readonly backend?: Partial<
    Pick<BackendKey, 'encrypt' | 'decrypt'> & Pick<KeyBackend, 'health'>
  > & {
    readonly describe?: (keyId: ExternalKeyId, deadline: Deadline) => Promise<KeyDescription>
  }
  readonly verifier?: Verifier
  /** Time budget per request (default: more than a request needs on any machine). */
  readonly deadlineMs?: number
  readonly quota?: () => boolean
  readonly keyStore?: Partial<KeyStore>
  readonly gate?: Gate
  readonly authorizer?: Authorizer
  /** Called after the pipeline has finished and before its response is sent. */
  readonly beforeRelease?: () => void
  /** Called after the write of the response has started and before it completes. */
  readonly beforeSent?: () => void
}

export function openGate() {
  const gate = createGate(systemClock, 3_600_000)
  gate.apply(createRules([]), 1)
  gate.renew(systemClock.monotonic())
  return gate
}

/** Builds a pipeline with a known caller and a key that decrypts everything. `setting` overrides parts of it. */
export function pipelineOf(setting: Setting = {}) {
  const records: RequestRecord[] = []
  const late: RequestRecord[] = []
  const credential = makeCredential()
  const { describe, health, encrypt, decrypt } = {
    describe: () => Promise.resolve(KEY),
    health: never,
    encrypt: () => Promise.resolve(SEALED),
    decrypt: () => Promise.resolve(Buffer.from('a data key of thirty-two bytes!!')),
    ...setting.backend,
  }
  const backend = enforceContract({
    vendor: 'test',
    find: async (id, deadline) => ({ ...(await describe(id, deadline)), encrypt, decrypt }),
    health,
    close: () => Promise.resolve(),
  })
  const keyStore: KeyStore = {
    name: storeName('demo'),
    uriPath: ROOT,
    regions: undefined,
    credentials: () => credential,
    quota: { take: setting.quota ?? (() => true) },
    isRetired: () => false,
    backend,
    health: {
      start: never,
      stop: () => Promise.resolve(),
      recheck: () => undefined,
      current: () => [{ id: 'm', model: 'm', status: 'ACTIVE' }],
    },
    verifyEveryEncrypt: false,
    accept: [],
    ...setting.keyStore,
  }
  const pipeline = createPipeline({
    clock: systemClock,
    schemas,
    verifier: setting.verifier ?? {
      verify: () => ({ accessKeyId: credential.accessKeyId, region: 'us-east-1' }),
    },
    keyStores: (uriPath) => (uriPath === ROOT ? keyStore : undefined),
    limits: {
      ...{ maxPlaintextBytes: 4300, maxAadBytes: 8192 },
      requestDeadlineMs: setting.deadlineMs ?? 60_000,
    },
    gate: setting.gate ?? openGate(),
    authorizer: setting.authorizer ?? createAuthorizer(),
    identity: { version: '0', fleetSize: () => 1 },
    onFinish: (record) => records.push(record),
    onSentAfterLease: (record) => late.push(record),
  })
  const ask = async (
    { path, body }: { path: string; body: unknown },
    more: Partial<RawRequest> = {},
  ) => {
    const answer = await pipeline({
      method: 'POST',
      target: `${ROOT}${path}`,
      rawHeaders: [],
      contentType: 'application/json',
      body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
      httpVersion: '1.1',
      remoteAddress: '127.0.0.1',
      startedAt: systemClock.monotonic(),
      ...more,
    })
    setting.beforeRelease?.()
    const response = answer.release()
    answer.finish()
    setting.beforeSent?.()
    answer.sent()
    const json = JSON.parse(response.body) as Record<string, unknown>
    return { status: response.status, json, record: records.at(-1) }
  }
  return { ask, records, late }
}
