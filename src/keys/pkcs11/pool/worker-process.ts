/** The parent's side of a worker process. Sends requests and receives responses in order, until the process ends. */
// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { BackendError } from '../../errors.ts'
import { isAnswerTo, type Call, type StartCall, type TokenFacts } from '../wire/calls.ts'
import { parseFailure, toBackendError, type WireFailure } from '../wire/errors.ts'
import {
  CALL,
  checkResult,
  decodeParts,
  DONE,
  encodeFrame,
  FAILED,
  FrameReader,
  ProtocolError,
  RUNNING,
  type Frame,
} from '../wire/protocol.ts'

/** An error from the token, with the recovery that the worker attempted. */
export class TokenError extends Error {
  override readonly name = 'TokenError'
  readonly wire: WireFailure

  constructor(wire: WireFailure) {
    super(wire.message)
    this.wire = wire
  }

  toBackendError(): BackendError {
    return toBackendError(this.wire)
  }
}

export interface Answer {
  /** Parts of the response body that follow the service time. */
  readonly parts: readonly Buffer[]
  /** Time spent in the module and the worker, in milliseconds. */
  readonly serviceMs: number
  /** Result of a CALL, in the shape that calls.ts defines. */
  readonly value?: unknown
}

/**
 * Receives the outcome of each request of its owner. One object that serves all requests costs less
 * than a promise for each request. Neither method may throw.
 */
export interface Outcome<Request> {
  onAnswer(request: Request, answer: Answer): void
  onFailure(request: Request, error: TokenError): void
}

interface WireRequest {
  readonly id: number
  readonly kind: number
  /** Parts of the body. */
  readonly parts: readonly Buffer[]
  readonly request: unknown
  readonly outcome: Outcome<unknown>
}

interface Waiter {
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: TokenError) => void
}

const TO_WAITER: Outcome<Waiter> = {
  onAnswer({ resolve }, answer) {
    resolve(answer)
  },
  onFailure({ reject }, error) {
    reject(error)
  },
}

// The program has the same extension as this file: .js in the build, .ts in the sources.
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
const PROGRAM = fileURLToPath(new URL(`../worker/main.${extension}`, import.meta.url))
const GONE: WireFailure = { code: 'UNAVAILABLE', message: 'the PKCS#11 worker exited' }
const GARBLED: WireFailure = {
  code: 'UNAVAILABLE',
  message: 'the PKCS#11 worker sent an invalid response',
}

export class WorkerProcess {
  readonly #child: ChildProcess
  readonly #pipe: Duplex
  /**
   * Requests in flight, in the order in which they were sent, which is usually the order of the
   * responses. This is an array because there are few of them (see also queue.ts).
   */
  readonly #orders: WireRequest[] = []
  readonly #reader = new FrameReader()
  #nextId = 1
  #outbox: Buffer[] = []
  #hasEnded = false
  #isRunning = false
  /** Called once, when the process is about to read its first request. */
  onRunning: () => void = () => undefined
  /** Called once, when the process has exited or was killed because of an invalid response. */
  onEnd: (why: WireFailure) => void = () => undefined

  /**
   * @param environment the process's complete environment. Neither the arguments nor the variables
   * contain secrets.
   */
  constructor(environment: Readonly<Record<string, string>>) {
    this.#child = spawn(process.execPath, [PROGRAM], {
      env: environment,
      stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'],
    })
    this.#pipe = this.#child.stdio[3] as Duplex
    this.#pipe.on('data', (chunk: Buffer) => {
      try {
        for (const frame of this.#reader.take(chunk)) this.#take(frame)
      } catch {
        // After a ProtocolError, or a SyntaxError from parsing JSON, no response from this process
        // can be trusted.
        this.#end(GARBLED)
      }
    })
    const end = () => {
      this.#end(GONE)
    }
    // A dying process may close its pipes before it exits, so whichever event below comes first
    // marks the process as ended.
    this.#pipe.on('error', end).on('close', end)
    this.#child.stdio[4]?.on('error', end)
    this.#child.on('error', end).on('exit', end)
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Number of requests without a response. */
  get size(): number {
    return this.#orders.length
  }

  /** Sends the first request, which the process needs before any other. */
  async start(call: StartCall): Promise<TokenFacts> {
    return (await this.call(call)) as TokenFacts
  }

  /** @throws TokenError */
  async call(call: Call): Promise<unknown> {
    const parts = [Buffer.from(JSON.stringify(call))]
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.send(CALL, parts, { resolve, reject }, TO_WAITER)
    })
    return answer.value
  }

  /**
   * Sends a request. Requests sent in the same event loop turn go out in one write. `outcome` is
   * never called before this method has returned.
   * @param request passed to `outcome`
   * @throws ProtocolError if the request would be too long; `outcome` is then not called
   */
  send<Request>(
    kind: number,
    parts: readonly Buffer[],
    request: Request,
    outcome: Outcome<Request>,
  ): void {
    if (this.#hasEnded) {
      process.nextTick(() => {
        outcome.onFailure(request, new TokenError(GONE))
      })
      return
    }
    const id = this.#nextId
    const frame = encodeFrame(kind, id, parts)
    this.#nextId = id === 0xffff_ffff ? 1 : id + 1
    this.#orders.push({ id, kind, parts, request, outcome })
    if (this.#outbox.length === 0) process.nextTick(this.#flush)
    this.#outbox.push(frame)
  }

  /** Kills the process at once, even while the module blocks. */
  kill(): void {
    this.#child.kill('SIGKILL')
    this.#end(GONE)
  }

  readonly #flush = (): void => {
    const [first, second] = this.#outbox
    if (first !== undefined && !this.#hasEnded) {
      this.#pipe.write(second === undefined ? first : Buffer.concat(this.#outbox))
    }
    this.#outbox = []
  }

  /** @throws ProtocolError or SyntaxError, in which case the request is still pending */
  #take({ kind, id, body }: Frame): void {
    if (this.#hasEnded) return
    if (kind === RUNNING && !this.#isRunning) {
      this.#isRunning = true
      this.onRunning()
      return
    }
    const isNext = this.#orders[0]?.id === id
    const at = isNext ? 0 : this.#orders.findIndex((order) => order.id === id)
    const order = this.#orders[at]
    if (order === undefined) throw new ProtocolError('received a response to an unknown request')
    // The first part is the duration: four bytes after their length.
    if (body.length < 8 || body.readUInt32LE(0) !== 4)
      throw new ProtocolError('received a response without a duration')
    const serviceMs = body.readUInt32LE(4) / 1000
    const parts = decodeParts(body, 8)
    if (kind === FAILED) {
      const failure = parseFailure(String(parts[0]))
      this.#orders.splice(at, 1)
      order.outcome.onFailure(order.request, new TokenError(failure))
    } else if (kind === DONE) {
      const value = checkAnswer(order, parts)
      this.#orders.splice(at, 1)
      order.outcome.onAnswer(order.request, { parts, serviceMs, value })
    } else throw new ProtocolError('received a response of an unknown kind')
  }

  #end(why: WireFailure): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#child.kill('SIGKILL')
    for (const stream of this.#child.stdio) stream?.destroy()
    const orders = this.#orders.splice(0)
    // Notify the owner first, so that it retries these requests with another worker.
    this.onEnd(why)
    for (const { request, outcome } of orders) outcome.onFailure(request, new TokenError(why))
  }
}

/**
 * Returns the result of a CALL.
 * @throws ProtocolError or SyntaxError unless the parts are a valid response to the request
 */
function checkAnswer({ kind, parts }: WireRequest, answer: readonly Buffer[]): unknown {
  if (kind !== CALL) {
    checkResult(kind, parts, answer)
    return undefined
  }
  const { call } = JSON.parse(String(parts[0])) as Call
  const value: unknown = JSON.parse(String(answer[0]))
  if (!isAnswerTo(call, value)) throw new ProtocolError(`received an invalid response to ${call}`)
  return value
}
