/** The KMS API over HTTP, as SDKs call it: JSON 1.1, signed by a caller's credential. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http'
import type { Clock } from '../../../core/clock.ts'
import type { KmsStandIn } from '../emulator.ts'
import { KmsException } from '../proxy-failure.ts'
import { type KmsIdentity, saveKmsState } from '../state.ts'
import { FrontDoorError, type KmsCredential, findCaller } from './callers.ts'
import type { CloudTrail } from './cloudtrail.ts'
import { CRYPTOGRAPHIC_OPERATIONS } from './cryptographic-operations.ts'
import type { Json, Operation } from './json.ts'
import { KEY_OPERATIONS } from './key-operations.ts'
import { STORE_OPERATIONS } from './store-operations.ts'

export interface KmsApiOptions extends KmsIdentity {
  readonly kms: KmsStandIn
  readonly clock: Clock
  readonly credentials: readonly KmsCredential[]
  /** File to which the state is written after each change (default: none). */
  readonly stateFile?: string
  /** Receives a record of each call (default: none). The API closes it. */
  readonly cloudTrail?: CloudTrail
  /**
   * Maximum number of cryptographic operations per second, over all callers; further operations are
   * throttled (default: unlimited).
   */
  readonly requestsPerSecond?: number
  /** Maximum number of entries per list page (default: 50). */
  readonly pageSize?: number
  /** Called before an operation runs. An error that the callback throws becomes the response. */
  readonly onCall?: (operation: string, input: Json) => void
  /** Called when the response is an error that the caller did not cause. */
  readonly onFault?: (error: unknown) => void
}

export interface KmsApi {
  /** Starts the server and resolves to its port. @throws a system error */
  listen(at: { readonly host: string; readonly port: number }): Promise<number>
  /** Writes the state immediately, for a change made outside an API call. */
  save(): Promise<void>
  close(): Promise<void>
}

const OPERATIONS: ReadonlyMap<string, Operation> = new Map<string, Operation>(
  Object.entries({ ...STORE_OPERATIONS, ...KEY_OPERATIONS, ...CRYPTOGRAPHIC_OPERATIONS }),
)
/** Operations that do not change the state. */
const READS = /^(?:Describe|List|Get|GenerateRandom)/
const MAX_BODY_BYTES = 1_048_576
const THROTTLED =
  'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.'

/** Creates a server that does not listen yet. */
export function createKmsApi(options: KmsApiOptions): KmsApi {
  const { kms, clock } = options
  const { stateFile, cloudTrail } = options
  const quota = createQuota(clock, options.requestsPerSecond ?? Infinity)
  let writing: Promise<void> = Promise.resolve()

  /** Runs writes sequentially, so that an earlier state never replaces a later one. */
  function inTurn(work: () => Promise<void>): Promise<void> {
    writing = writing.then(work, work)
    return writing
  }

  const save = async () => {
    if (stateFile !== undefined) {
      await inTurn(() => saveKmsState(stateFile, options, kms.state()))
    }
  }

  async function perform(call: Call): Promise<Json> {
    const { operation, input, caller } = call
    const run = OPERATIONS.get(operation)
    if (run === undefined) {
      const message = `latchkey kms does not support the operation ${operation}`
      throw new FrontDoorError('UnknownOperationException', message)
    }
    if (operation in CRYPTOGRAPHIC_OPERATIONS && !quota()) {
      throw new KmsException('ThrottlingException', THROTTLED)
    }
    options.onCall?.(operation, input)
    const isDryRun = input['DryRun'] === true
    const output = await run(kms, withLimit(input, options.pageSize), {
      ...caller,
      requestId: call.requestId,
      isDryRun,
    })
    if (!READS.test(operation) && !(operation in CRYPTOGRAPHIC_OPERATIONS)) await save()
    const storeId = input['CustomKeyStoreId']
    if (operation === 'ConnectCustomKeyStore' && typeof storeId === 'string') {
      // As in KMS, the response does not wait until the key store is connected.
      void kms.stores.settled(storeId).then(save).catch(options.onFault)
    }
    return output
  }

  async function answer(request: IncomingMessage, body: Buffer): Promise<Answer> {
    const requestId = randomUUID()
    const at = clock.now()
    const operation = String(request.headers['x-amz-target']).replace(/^TrentService\./, '')
    let caller: KmsCredential | undefined
    let input: Json = {}
    let done: Outcome
    try {
      caller = findCaller(request, body, { ...options, now: at })
      input = parseBody(body)
      done = { status: 200, body: await perform({ operation, input, caller, requestId }) }
    } catch (thrown) {
      done = toFailure(thrown)
      if (done.status >= 500) options.onFault?.(thrown)
    }
    const { error, ...rest } = done
    if (cloudTrail !== undefined && caller !== undefined) {
      const record = {
        ...{ operation, input, caller, requestId, at },
        ...{ region: options.region, accountId: options.accountId },
        remoteAddress: request.socket.remoteAddress ?? '',
        userAgent: request.headers['user-agent'] ?? '',
        keyArns: findKeyArns(kms, input, rest.body),
        ...(error && { error }),
      }
      await inTurn(() => cloudTrail.append(record))
    }
    return { ...rest, requestId }
  }

  const server = createServer((request, response) => {
    serve(request, response, answer).catch((error: unknown) => {
      options.onFault?.(error)
      response.destroy()
    })
  })
  return {
    listen: (at) => listen(server, at),
    save,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
      await writing
      await cloudTrail?.close()
      await kms.close()
    },
  }
}

function listen(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      const bound = server.address()
      resolve(typeof bound === 'object' && bound !== null ? bound.port : port)
    })
  })
}

interface Call {
  readonly operation: string
  readonly input: Json
  readonly caller: KmsCredential
  readonly requestId: string
}

interface Outcome {
  readonly status: number
  readonly body: Json
  readonly error?: { readonly code: string; readonly message: string }
}

interface Answer extends Omit<Outcome, 'error'> {
  readonly requestId: string
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (request: IncomingMessage, body: Buffer) => Promise<Answer>,
): Promise<void> {
  if (request.method === 'GET' && request.url === '/livez') {
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}\n')
    return
  }
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    chunks.push(chunk as Buffer)
    size += (chunk as Buffer).length
    if (size > MAX_BODY_BYTES) {
      response.writeHead(413).end()
      return
    }
  }
  const { status, body, requestId } = await answer(request, Buffer.concat(chunks))
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'cache-control': 'no-cache, no-store',
    'x-amzn-requestid': requestId,
  })
  response.end(JSON.stringify(body))
}

/** @throws FrontDoorError SerializationException */
function parseBody(body: Buffer): Json {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json
  } catch {
    // The error below reports the problem.
  }
  throw new FrontDoorError('SerializationException', 'the body is not a JSON object')
}

function toFailure(thrown: unknown): Outcome {
  if (thrown instanceof KmsException || thrown instanceof FrontDoorError) {
    const { code, message } = thrown
    return { status: 400, body: { __type: code, message }, error: { code, message } }
  }
  const error = { code: 'KMSInternalException', message: 'Internal error in latchkey kms' }
  return { status: 500, body: { __type: error.code, message: error.message }, error }
}

function withLimit(input: Json, pageSize: number | undefined): Json {
  return pageSize === undefined ? input : { Limit: pageSize, ...input }
}

/** Returns the ARNs of the keys that a call or its response names. */
function findKeyArns(kms: KmsStandIn, input: Json, output: Json): readonly string[] {
  const metadata = output['KeyMetadata'] as { readonly Arn?: string } | undefined
  const named = [
    ...[input['KeyId'], input['TargetKeyId'], input['DestinationKeyId']],
    ...[output['KeyId'], output['SourceKeyId'], metadata?.Arn],
  ]
  const keys = kms.keys.list()
  const arns = named.flatMap((name) => {
    if (typeof name !== 'string') return []
    const isAlias = kms.aliases
      .list()
      .find((one) => name.endsWith(`:${one.name}`) || name === one.name)
    const id = isAlias?.keyId ?? name
    return keys.find(({ keyId, arn }) => keyId === id || arn === id)?.arn ?? []
  })
  return [...new Set(arns)]
}

/** Returns a function that reports whether the limit allows one more request in this second. */
function createQuota(clock: Clock, requestsPerSecond: number): () => boolean {
  let tokens = requestsPerSecond
  let at = clock.monotonic()
  return () => {
    if (requestsPerSecond === Infinity) return true
    const now = clock.monotonic()
    tokens = Math.min(requestsPerSecond, tokens + ((now - at) / 1000) * requestsPerSecond)
    at = now
    if (tokens < 1) return false
    tokens -= 1
    return true
  }
}
