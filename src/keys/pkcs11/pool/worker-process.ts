/** One process of a module, seen from its parent: orders out, answers in, in order, until it ends. */
// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { BackendError } from '../../errors.ts'
import type { Call, StartCall, TokenFacts } from '../wire/calls.ts'
import { toBackendError, type WireFailure } from '../wire/errors.ts'
import { CALL, decodeParts, DONE, encodeFrame, FrameReader, type Frame } from '../wire/protocol.ts'

/** A refusal of the token, with what the process did about it. */
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
  /** Of the body, behind the time. */
  readonly parts: readonly Buffer[]
  /** In the module and around it. */
  readonly serviceMs: number
}

interface WireRequest {
  readonly id: number
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

// The build writes .js beside .js; from the sources it is .ts beside .ts.
const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
const PROGRAM = fileURLToPath(new URL(`../worker/main.${extension}`, import.meta.url))
const GONE: WireFailure = { code: 'UNAVAILABLE', message: 'the process of the module ended' }

export class WorkerProcess {
  readonly #child: ChildProcess
  readonly #pipe: Duplex
  /** A few, in the order sent, which is mostly the order of the answers; not a Map: see core/bag.ts. */
  readonly #orders: WireRequest[] = []
  readonly #reader = new FrameReader()
  #nextId = 1
  #outbox: Buffer[] = []
  #hasEnded = false
  /** Called once. */
  onEnd: () => void = () => undefined

  /** @param environment all that the process gets: no argument and no variable holds a secret */
  constructor(environment: Readonly<Record<string, string>>) {
    this.#child = spawn(process.execPath, [PROGRAM], {
      env: environment,
      stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe'],
    })
    this.#pipe = this.#child.stdio[3] as Duplex
    this.#pipe.on('data', (chunk: Buffer) => {
      for (const frame of this.#reader.take(chunk)) this.#take(frame)
    })
    const end = () => {
      this.#end()
    }
    // A process that dies breaks its pipes first; whatever comes first ends it.
    this.#pipe.on('error', end).on('close', end)
    this.#child.stdio[4]?.on('error', end)
    this.#child.on('error', end).on('exit', end)
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Orders without an answer. */
  get size(): number {
    return this.#orders.length
  }

  /** The first order, without which the process does nothing. */
  async start(call: StartCall): Promise<TokenFacts> {
    return (await this.call(call)) as TokenFacts
  }

  /** @throws TokenError */
  async call(call: Call): Promise<unknown> {
    const { parts } = await this.send(CALL, [Buffer.from(JSON.stringify(call))])
    return JSON.parse((parts[0] ?? Buffer.alloc(0)).toString('utf8')) as unknown
  }

  /** Orders of one turn of the event loop go out in one write. @throws TokenError */
  send(kind: number, parts: readonly Buffer[]): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#hasEnded) {
        reject(new TokenError(GONE))
        return
      }
      const id = this.#nextId
      this.#nextId = id === 0xffff_ffff ? 1 : id + 1
      this.#orders.push({ id, resolve, reject })
      if (this.#outbox.length === 0)
        process.nextTick(() => {
          this.#flush()
        })
      this.#outbox.push(encodeFrame(kind, id, parts))
    })
  }

  /** At once, whatever the module is doing. */
  kill(): void {
    this.#child.kill('SIGKILL')
    this.#end()
  }

  #flush(): void {
    const [first, second] = this.#outbox
    if (first !== undefined && !this.#hasEnded) {
      this.#pipe.write(second === undefined ? first : Buffer.concat(this.#outbox))
    }
    this.#outbox = []
  }

  #take({ kind, id, body }: Frame): void {
    const at = this.#orders.findIndex((order) => order.id === id)
    const [order] = at < 0 ? [] : this.#orders.splice(at, 1)
    if (order === undefined) return
    const [time, ...parts] = decodeParts(body)
    if (kind === DONE) {
      order.resolve({ parts, serviceMs: (time?.readUInt32LE(0) ?? 0) / 1000 })
    } else {
      order.reject(new TokenError(JSON.parse(String(parts[0])) as WireFailure))
    }
  }

  #end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#child.kill('SIGKILL')
    for (const stream of this.#child.stdio) stream?.destroy()
    for (const { reject } of this.#orders.splice(0)) reject(new TokenError(GONE))
    this.onEnd()
  }
}
