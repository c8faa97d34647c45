/** THE REQUEST: every stage in its order, and which checks each operation gets. Read this first. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { type Awaitable, whenThere } from '../core/awaitable.ts'
import type { Clock } from '../core/clock.ts'
import { Deadline } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import { BackendError } from '../keys/errors.ts'
import type { KeyDescription } from '../keys/key-backend.ts'
import type { Gate, GatePass } from '../killswitch/gate/gate.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import type { SignedRequest, Verifier } from '../sigv4/verify.ts'
import { type Answer, type AnswerDeps, GatedAnswer, renderError } from './answer.ts'
import { type Input, type Limits, decodeBody, decodeInput } from './decode.ts'
import { toXksError } from './error-map.ts'
import { type Operation, XksError } from './errors.ts'
import type { KeyStore, KeyStoreLookup } from './key-store.ts'
import { decrypt } from './operations/decrypt.ts'
import { type ProxyIdentity, toHealthStatus, toKeyMetadata } from './operations/describe.ts'
import { encrypt } from './operations/encrypt.ts'
import { type RequestRecord, type StageTimer, startRecord } from './request-record.ts'
import { TargetParser } from './route.ts'

/** A request as it came off the wire, whole. */
export interface RawRequest {
  readonly method: string
  readonly target: string
  /** Name, value, name, value: duplicates and order as received. */
  readonly rawHeaders: readonly string[]
  readonly contentType: string | undefined
  readonly body: Buffer
  readonly httpVersion: string
  readonly remoteAddress: string
  /** Monotonic milliseconds of the first byte. */
  readonly startedAt: number
  /** Milliseconds of the handshake, on the first request of a connection. */
  readonly tlsMs?: number | undefined
  /** Whether the caller has gone away. */
  readonly isGone?: () => boolean
  /** A fault that the listener found before there was a whole request. */
  readonly fault?: XksError | undefined
}

export interface PipelineDeps extends AnswerDeps {
  readonly clock: Clock
  readonly verifier: Verifier
  readonly keyStores: KeyStoreLookup
  readonly limits: Limits & { readonly requestDeadlineMs: number }
  readonly identity: ProxyIdentity
}

/** The answer is there at once where nothing on its way had to be waited for. Never throws or rejects. */
export type Pipeline = (raw: RawRequest) => Awaitable<Answer>

interface Checks {
  /** Counts against the key store's quota. KMS's health polling must not be starved by its own load. */
  readonly quota: boolean
  /** The key must exist. */
  readonly key: boolean
  /** The key must be enabled, and may be used in this direction. */
  readonly usable: 'canEncrypt' | 'canDecrypt' | undefined
}

/** Authentication, syntax and errors are everybody's; the rest is this grid. */
export const CHECKS: Readonly<Record<Operation, Checks>> = {
  GetKeyMetadata: { quota: true, key: true, usable: undefined },
  Encrypt: { quota: true, key: true, usable: 'canEncrypt' },
  Decrypt: { quota: true, key: true, usable: 'canDecrypt' },
  GetHealthStatus: { quota: false, key: false, usable: undefined },
}

/** The life of one XKS request. Order matters: an unauthenticated caller learns nothing about keys. */
export function createPipeline(deps: PipelineDeps): Pipeline {
  const targets = new TargetParser()
  return (raw) => {
    const { record, timer } = startRecord(raw, deps.clock)
    timer.end('read')
    const passage: Passage = { pass: undefined }
    const succeed = (body: string) => {
      record.status = 200
      return new GatedAnswer(deps, { status: 200, body }, passage.pass, record, timer)
    }
    const fail = (thrown: unknown) => {
      timer.fail()
      if (passage.pass !== undefined) deps.gate.abandon(passage.pass)
      const response = renderError(deps.schemas, toXksError(thrown, record.operation), record)
      return new GatedAnswer(deps, response, undefined, record, timer)
    }
    try {
      const body = serve(deps, targets, raw, record, timer, passage)
      return typeof body === 'string' ? succeed(body) : body.then(succeed, fail)
    } catch (thrown) {
      return fail(thrown)
    }
  }
}

/** Holds the gate's first yes, for whoever needs it when the request is at its end. */
interface Passage {
  pass: GatePass | undefined
}

function serve(
  deps: PipelineDeps,
  targets: TargetParser,
  raw: RawRequest,
  record: RequestRecord,
  timer: StageTimer,
  passage: Passage,
): Awaitable<string> {
  const { keyStore, operation, keyId } = resolveRoute(deps.keyStores, targets, raw, record)
  if (raw.fault !== undefined) throw raw.fault
  const deadline = startDeadline(deps, raw)
  authenticate(deps.verifier, keyStore, raw, record)
  timer.end('auth')
  const body = decodeBody(deps.schemas, operation, raw.contentType, raw.body)
  record.metadata = body.metadata
  const input = decodeInput(operation, body, deps.limits)
  timer.end('decode')
  const checks = CHECKS[operation]
  if (checks.quota && !keyStore.quota.take()) {
    throw new XksError('ThrottlingException', 'The request quota of this key store is exceeded.')
  }
  const pass = checkGate(deps.gate, record, keyStore, operation)
  passage.pass = pass
  timer.end('gate')
  if (keyId === undefined) {
    const health = toHealthStatus(deps.identity, keyStore.backend.vendor, keyStore.health.current())
    return deps.schemas.encode('GetHealthStatusResponse', health)
  }
  const call = { keyStore, operation, keyId, input, deadline, record, timer, pass }
  const encoded = whenThere(keyStore.backend.describe(keyId, deadline), (key) =>
    serveKey(deps.schemas, call, key),
  )
  return typeof encoded === 'string' ? encoded : deadline.race(encoded)
}

/** From the first byte on, as KMS counts. What comes too late for an answer is not begun. */
function startDeadline({ clock, limits }: PipelineDeps, raw: RawRequest): Deadline {
  const deadline = new Deadline(clock, limits.requestDeadlineMs, raw)
  if (deadline.remainingMs > 0) return deadline
  const details = raw.isGone?.() === true ? { reason: 'CALLER_GONE' } : { reason: 'LATE' }
  throw new XksError('ThrottlingException', 'The request waited too long to be served.', details)
}

interface KeyCall {
  readonly keyStore: KeyStore
  readonly operation: Operation
  readonly keyId: ExternalKeyId
  readonly input: Input
  readonly deadline: Deadline
  readonly record: RequestRecord
  readonly timer: StageTimer
  readonly pass: GatePass
}

function serveKey(schemas: ApiSchemas, call: KeyCall, key: KeyDescription): Awaitable<string> {
  const { keyStore, operation, keyId, input, deadline, record, timer } = call
  const { backend } = keyStore
  checkUsable(key, CHECKS[operation].usable)
  timer.end('key')
  if (input.kind === 'encrypt') {
    record.keyVersion = key.currentVersion
    const verify = input.wantsCdiv || (keyStore.verifyEveryEncrypt && key.canDecrypt)
    // KMS takes a CDIV as the promise that decryption will work, so a key that cannot decrypt must
    // not give one (Appendix C, step 3).
    if (verify) checkUsable(key, 'canDecrypt')
    return whenThere(encrypt({ backend, key, input, verify, deadline, timer }), (result) =>
      schemas.encode('EncryptResponse', result),
    )
  }
  if (input.kind === 'decrypt') {
    const { accept } = keyStore
    return whenThere(
      decrypt({ backend, keyId, input, accept, deadline, timer, record }),
      (result) => schemas.encode('DecryptResponse', result),
    )
  }
  const enabled = key.enabled && !call.pass.isKeyBlocked
  return schemas.encode('GetKeyMetadataResponse', toKeyMetadata({ ...key, enabled }))
}

/** @throws GateError */
function checkGate(
  gate: Gate,
  { keyId, metadata }: RequestRecord,
  { name }: KeyStore,
  operation: Operation,
): GatePass {
  return gate.check({ keyStore: name, operation, keyId, metadata })
}

function resolveRoute(
  keyStores: KeyStoreLookup,
  targets: TargetParser,
  raw: RawRequest,
  record: RequestRecord,
) {
  const target = targets.parse(raw.target)
  const keyStore = target === undefined ? undefined : keyStores(target.uriPath)
  if (target === undefined || keyStore === undefined) throw new XksError('InvalidUriPathException')
  record.keyStore = keyStore.name
  record.operation = target.operation
  if (target.keyId !== undefined) record.keyId = target.keyId
  if (raw.method !== 'POST') {
    // XKS 1.0.3, API operations: 405. The table has no name of its own for it.
    throw new XksError('ValidationException', 'The only method is POST.', {
      status: 405,
      headers: { allow: 'POST' },
    })
  }
  const { operation, keyId } = target
  return { keyStore, operation, keyId }
}

function checkUsable(key: KeyDescription, direction: Checks['usable']): void {
  if (direction === undefined) return
  if (!key.enabled) throw new BackendError('KEY_DISABLED', 'the key is disabled')
  if (!key[direction]) throw new BackendError('KEY_USAGE', `the key lacks ${direction}`)
}

/** Where a kmsRequestId is looked for in a body that nobody vouches for. */
const SEARCHED_BYTES = 4096

/** @throws SignatureError; the record then says how to find the request again in the caller's logs */
function authenticate(
  verifier: Verifier,
  keyStore: KeyStore,
  request: SignedRequest,
  record: RequestRecord,
): void {
  try {
    const scope = { lookup: keyStore.credentials, regions: keyStore.regions }
    const caller = verifier.verify(request, scope)
    record.accessKeyId = caller.accessKeyId
    record.region = caller.region
  } catch (error) {
    record.bodySha256 = createHash('sha256').update(request.body).digest('hex')
    const claimed = findClaimedRequestId(request.body)
    if (claimed !== undefined) record.unverifiedKmsRequestId = claimed
    throw error
  }
}

function findClaimedRequestId(body: Buffer): string | undefined {
  const text = body.toString('latin1', 0, SEARCHED_BYTES)
  return /"kmsRequestId"\s*:\s*"([\x20-\x7e]{1,128}?)"/.exec(text)?.[1]
}
