/** The parent's side of a worker process: sends requests and receives responses in order, until the process ends. */
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
  type Frame,
} from '../wire/protocol.ts'

/** An error of the token, with the recovery that the worker attempted. */
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
  /** Parts of the body that follow the time. */
  readonly parts: readonly Buffer[]
  /** Milliseconds spent in the module and in the worker around it. */
  readonly serviceMs: number
  /** CALL result, in the form that its type promises. */
  readonly value?: unknown
}

interface WireRequest {
  readonly id: number
  readonly kind: number
  /** Parts of the body. */
  readonly parts: readonly Buffer[]
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

// The program has the same extension as this file: .js in the build, .ts in the sources.
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
const PROGRAM = fileURLToPath(new URL(`../worker/main.${extension}`, import.meta.url))
const GONE: WireFailure = { code: 'UNAVAILABLE', message: 'the PKCS#11 worker exited' }
const GARBLED: WireFailure = {
  code: 'UNAVAILABLE',
  message: 'the PKCS#11 worker sent an invalid answer',
}

export class WorkerProcess {
  readonly #child: ChildProcess
  readonly #pipe: Duplex
  /**
   * Requests in flight, in the order sent, which is mostly the order of the answers. There are few
   * of them. An array rather than a Map; queue.ts says why.
   */
  readonly #orders: WireRequest[] = []
  readonly #reader = new FrameReader()
  #nextId = 1
  #outbox: Buffer[] = []
  #hasEnded = false
  /** Called once, when the process has ended or was killed because of an invalid answer. */
  onEnd: (why: WireFailure) => void = () => undefined

  /** @param environment the whole environment of the process. No argument and no variable holds a secret. */
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
        // After a ProtocolError, or a SyntaxError of JSON, no answer of this process can be trusted.
        this.#end(GARBLED)
      }
    })
    const end = () => {
      this.#end(GONE)
    }
    // A dying process breaks its pipes first, so whichever event comes first ends it.
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
    return (await this.send(CALL, [Buffer.from(JSON.stringify(call))])).value
  }

  /** Sends a request. Requests of one event loop turn go out in one write. @throws TokenError */
  send(kind: number, parts: readonly Buffer[]): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#hasEnded) {
        reject(new TokenError(GONE))
        return
      }
      const id = this.#nextId
      const frame = encodeFrame(kind, id, parts)
      this.#nextId = id === 0xffff_ffff ? 1 : id + 1
      this.#orders.push({ id, kind, parts, resolve, reject })
      if (this.#outbox.length === 0)
        process.nextTick(() => {
          this.#flush()
        })
      this.#outbox.push(frame)
    })
  }

  /** Kills the process at once, even while the module blocks. */
  kill(): void {
    this.#child.kill('SIGKILL')
    this.#end(GONE)
  }

  #flush(): void {
    const [first, second] = this.#outbox
    if (first !== undefined && !this.#hasEnded) {
      this.#pipe.write(second === undefined ? first : Buffer.concat(this.#outbox))
    }
    this.#outbox = []
  }

  /** @throws ProtocolError or SyntaxError; the request then has no answer yet */
  #take({ kind, id, body }: Frame): void {
    if (this.#hasEnded) return
    const at = this.#orders.findIndex((order) => order.id === id)
    const order = this.#orders[at]
    if (order === undefined) throw new ProtocolError('an answer to no request')
    const [time, ...parts] = decodeParts(body)
    if (time?.length !== 4) throw new ProtocolError('an answer without its time')
    const serviceMs = time.readUInt32LE(0) / 1000
    if (kind === FAILED) {
      const failure = parseFailure(String(parts[0]))
      this.#orders.splice(at, 1)
      order.reject(new TokenError(failure))
    } else if (kind === DONE) {
      const answer = { parts, serviceMs, ...checkAnswer(order, parts) }
      this.#orders.splice(at, 1)
      order.resolve(answer)
    } else throw new ProtocolError('an answer of an unknown kind')
  }

  #end(why: WireFailure): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#child.kill('SIGKILL')
    for (const stream of this.#child.stdio) stream?.destroy()
    for (const { reject } of this.#orders.splice(0)) reject(new TokenError(why))
    this.onEnd(why)
  }
}

/** @throws ProtocolError or SyntaxError unless the parts are an answer to the request */
function checkAnswer(
  { kind, parts }: WireRequest,
  answer: readonly Buffer[],
): Pick<Answer, 'value'> {
  if (kind !== CALL) {
    checkResult(kind, parts, answer)
    return {}
  }
  const { call } = JSON.parse(String(parts[0])) as Call
  const value: unknown = JSON.parse(String(answer[0]))
  if (!isAnswerTo(call, value)) throw new ProtocolError(`no answer to ${call}`)
  return { value }
}
