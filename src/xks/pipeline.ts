/** The whole path of a request: every stage, in order. Read this first. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { hasProbeId, isProbe } from '../core/probe.ts'
import type { Operation, RequestRecord, RequestSubject } from '../core/request.ts'
import type { BackendKey, SealedBytes } from '../keys/key-backend.ts'
import { accessClassOf } from '../policy/principal.ts'
import type { KeyOperation } from '../policy/facts.ts'
import type { Verifier } from '../sigv4/verify.ts'
import { type Answer, type AnswerDeps, GatedAnswer, renderError } from './answer.ts'
import { type Input, type Limits, decodeBody, decodeInput } from './decode.ts'
import { isManagerFailure, toXksError } from './error-map.ts'
import { XksError } from './errors.ts'
import type { KeyStore, KeyStoreLookup } from './key-store.ts'
import { decrypt, findVersion } from './operations/decrypt.ts'
import { type ProxyIdentity, toHealthStatus, toKeyMetadata } from './operations/describe.ts'
import { encrypt, toEncryptResponse } from './operations/encrypt.ts'
import { type RawRequest, type RequestContext, createRequestContext } from './request-context.ts'
import { type Target, parseTarget } from './route.ts'

export interface PipelineDeps extends AnswerDeps {
  readonly clock: Clock
  readonly verifier: Verifier
  readonly keyStores: KeyStoreLookup
  readonly limits: Limits & { readonly requestDeadlineMs: number }
  readonly identity: ProxyIdentity
  /** Absent if there is no audit log. */
  readonly audit?: RequestAudit | undefined
  /**
   * Reports whether the tripwire refuses the request for now. Absent if the tripwire has no rules.
   */
  readonly isThrottled?: ((subject: RequestSubject) => boolean) | undefined
}

/** The pipeline's interface to the audit log. `onFinish` also records every request. */
export interface RequestAudit {
  /** Returns a hash that identifies what an Encrypt produced or a Decrypt received. */
  hashSealed(parts: SealedBytes): string
  /**
   * Records a request durably. Present if a plaintext may be sent only after its record is durable.
   * @throws XksError InternalException
   */
  readonly recordDurably?: ((record: RequestRecord) => Promise<void>) | undefined
}

/** Never throws or rejects. */
export type Pipeline = (raw: RawRequest) => Promise<Answer>

/**
 * KMS's health polling does not count against the quota, so a key store under load stays healthy.
 */
const TAKES_QUOTA: Readonly<Record<Operation, boolean>> = {
  GetKeyMetadata: true,
  Encrypt: true,
  Decrypt: true,
  GetHealthStatus: false,
}

/**
 * Creates a pipeline, which takes an XKS request from its raw bytes to a response that awaits the
 * gate's second check.
 */
export function createPipeline(deps: PipelineDeps): Pipeline {
  return async (raw) => {
    const request = createRequestContext(raw, deps.clock, deps.limits.requestDeadlineMs)
    const { record, timer } = request
    timer.end('read')
    try {
      const body = await serve(deps, request)
      record.status = 200
      if (record.operation === 'Decrypt' && deps.audit?.recordDurably !== undefined) {
        await request.deadline.race(deps.audit.recordDurably(record))
      }
      return new GatedAnswer(deps, request, { status: 200, body })
    } catch (thrown) {
      timer.fail()
      if (isManagerFailure(thrown)) request.keyStore?.health.recheck()
      if (request.pass !== undefined) deps.gate.abandon(request.pass)
      request.pass = undefined
      if (record.metadata !== undefined && hasProbeId(record.metadata)) record.isProbe = true
      const error = toXksError(thrown, record.operation)
      return new GatedAnswer(deps, request, renderError(deps.schemas, error, record))
    }
  }
}

/** The order of the stages matters: an unauthenticated caller learns nothing about keys. */
async function serve(deps: PipelineDeps, request: RequestContext): Promise<string> {
  const { schemas } = deps
  const { raw, record, timer, deadline } = request

  const { keyStore, operation, keyId } = resolveRoute(deps.keyStores, request)
  request.keyStore = keyStore
  if (raw.fault !== undefined) throw raw.fault
  checkInTime(request)
  authenticate(deps.verifier, keyStore, request)
  timer.end('auth')

  const body = decodeBody(schemas, operation, raw.contentType, raw.body)
  const { metadata } = body
  record.metadata = metadata
  const input = decodeInput(operation, body, deps.limits)
  // Set this before any check can refuse the request, so that the version's record shows who still
  // needs the version.
  if (input.kind === 'decrypt') record.keyVersion = findVersion(input, keyStore.accept)
  const isOwn = isProbe(metadata, operation, 'aad' in input ? input.aad : undefined)
  if (isOwn) record.isProbe = true
  timer.end('decode')

  if (TAKES_QUOTA[operation] && !keyStore.quota.take()) {
    throw new XksError('ThrottlingException', 'The request quota of this key store is exceeded.')
  }
  const subject = { keyStore: keyStore.name, operation, keyId, metadata, isProbe: isOwn }
  const pass = deps.gate.check(subject)
  request.pass = pass
  if (deps.audit !== undefined) record.gateEpoch = pass.epoch
  if (deps.isThrottled?.(subject) === true) {
    throw new XksError('ThrottlingException', undefined, { reason: 'TRIPWIRE' })
  }
  timer.end('gate')

  if (keyId === undefined) {
    const health = toHealthStatus(deps.identity, keyStore.backend.vendor, keyStore.health.current())
    return schemas.encode('GetHealthStatusResponse', health)
  }
  const key = await deadline.race(keyStore.backend.find(keyId, deadline))
  timer.end('key')
  authorize(deps, request, { keyStore, operation: operation as KeyOperation, key, input })
  timer.end('policy')

  switch (input.kind) {
    case 'encrypt': {
      const sealed = await encrypt(request, keyStore, key, input)
      if (deps.audit !== undefined) record.sealedSha256 = deps.audit.hashSealed(sealed)
      return schemas.encode('EncryptResponse', toEncryptResponse(sealed))
    }
    case 'decrypt':
      if (deps.audit !== undefined) record.sealedSha256 = deps.audit.hashSealed(input)
      return schemas.encode('DecryptResponse', await decrypt(request, keyStore, key, input))
    case 'none': {
      const enabled = key.enabled && !pass.isKeyBlocked
      return schemas.encode('GetKeyMetadataResponse', toKeyMetadata(key, enabled))
    }
  }
}

/** @throws XksError if the request's deadline passed before any work on the request started */
function checkInTime({ raw, deadline }: RequestContext): void {
  if (deadline.remainingMs > 0) return
  const details = raw.isGone?.() === true ? { reason: 'CALLER_GONE' } : { reason: 'LATE' }
  throw new XksError('ThrottlingException', 'The request waited too long to be served.', details)
}

interface Authorization {
  readonly keyStore: KeyStore
  /** Excludes GetHealthStatus, which has no key. */
  readonly operation: KeyOperation
  readonly key: BackendKey
  readonly input: Input
}

/**
 * Evaluates the policies, and records which of them decided.
 * @throws XksError AccessDeniedException
 */
function authorize(
  { authorizer, clock }: PipelineDeps,
  request: RequestContext,
  { keyStore, operation, key, input }: Authorization,
): void {
  const { raw, record } = request
  const { metadata = {}, accessKeyId = '' } = record
  record.accessClass = accessClassOf(metadata)
  const pass = authorizer.decide(() => ({
    keyStore: keyStore.name,
    keyId: key.keyId,
    operation,
    metadata,
    keyVersion: key.currentVersion,
    keyCreatedAt: key.createdAt,
    credential: { id: accessKeyId, createdAt: keyStore.credentials(accessKeyId)?.createdAt },
    now: clock.now(),
    tlsVersion: raw.tls?.version,
    clientName: raw.tls?.clientName,
    remoteAddress: raw.remoteAddress,
    aadBytes: input.kind === 'none' ? 0 : input.aad.length,
    plaintextBytes: plaintextBytesOf(input),
  }))
  request.policyPass = pass
  if (!pass.isAsked) return
  record.policyRevision = pass.revision
  record.policies = pass.policies
  if (pass.denial !== undefined) {
    throw new XksError('AccessDeniedException', undefined, { reason: pass.denial })
  }
  const { denial: reason, policies = [] } = pass.shadow ?? {}
  if (reason !== undefined) record.shadowDenial = { reason, policies }
}

function plaintextBytesOf(input: Input): number {
  if (input.kind === 'none') return 0
  return input.kind === 'encrypt' ? input.plaintext.length : input.ciphertext.length
}

interface Route extends Pick<Target, 'operation' | 'keyId'> {
  readonly keyStore: KeyStore
}

/**
 * @throws XksError InvalidUriPathException, or an error with status 405 if the method is not POST
 */
function resolveRoute(keyStores: KeyStoreLookup, { raw, record }: RequestContext): Route {
  const target = parseTarget(raw.target)
  const keyStore = target === undefined ? undefined : keyStores(target.uriPath)
  if (target === undefined || keyStore === undefined) throw new XksError('InvalidUriPathException')
  record.keyStore = keyStore.name
  record.operation = target.operation
  if (target.keyId !== undefined) record.keyId = target.keyId
  if (raw.method !== 'POST') {
    // XKS 1.0.3, API operations, requires status 405, for which the error table has no name.
    throw new XksError('ValidationException', 'The only allowed method is POST.', {
      status: 405,
      headers: { allow: 'POST' },
    })
  }
  return { keyStore, operation: target.operation, keyId: target.keyId }
}

/** Number of bytes of an unverified body that are searched for a kmsRequestId. */
const SEARCHED_BYTES = 4096

/**
 * @throws SignatureError, after adding data to the record that helps to find the request in the
 * caller's logs
 */
function authenticate(
  verifier: Verifier,
  keyStore: KeyStore,
  { raw, record }: RequestContext,
): void {
  try {
    const scope = { lookup: keyStore.credentials, regions: keyStore.regions }
    const caller = verifier.verify(raw, scope)
    record.accessKeyId = caller.accessKeyId
    record.region = caller.region
  } catch (error) {
    record.bodySha256 = createHash('sha256').update(raw.body).digest('hex')
    const claimed = findClaimedRequestId(raw.body)
    if (claimed !== undefined) record.unverifiedKmsRequestId = claimed
    throw error
  }
}

function findClaimedRequestId(body: Buffer): string | undefined {
  const text = body.toString('latin1', 0, SEARCHED_BYTES)
  return /"kmsRequestId"\s*:\s*"([\x20-\x7e]{1,128}?)"/.exec(text)?.[1]
}
