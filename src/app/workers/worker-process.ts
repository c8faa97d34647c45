/** Gives the primary access to one worker process: its calls, log lines and exit. */
// SPDX-License-Identifier: Apache-2.0
import cluster from 'node:cluster'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { LatchkeyError } from '../../core/errors.ts'
import {
  type CallName,
  type FromWorker,
  type PackedFault,
  type ToWorker,
  unpackError,
} from './messages.ts'

export interface WorkerEnd {
  /** The exit code, if no signal ended the process. */
  readonly code?: number
  readonly signal?: string
}

export interface WorkerProcess {
  readonly pid: number | undefined
  /**
   * Returns the worker's response.
   * @throws the worker's error, or WORKER_ENDED if the worker exits before it responds
   */
  call(name: CallName, input?: unknown): Promise<unknown>
  passOn(signal: NodeJS.Signals): void
  kill(): void
  /** Resolves when the process has exited and its output has been passed on. Never rejects. */
  readonly ended: Promise<WorkerEnd>
}

/**
 * Timeout in milliseconds for the output of a dead worker: the worker's own children may keep the
 * output open.
 */
const OUTPUT_GRACE_MS = 1000
const LINE_FEED = 0x0a

/**
 * Call before the first fork. The primary accepts connections and distributes them round-robin. If
 * workers accepted connections from one shared queue, some would get up to three times as many as
 * others, and the imbalance would last, because KMS keeps its connections open for a long time.
 */
export function setUpWorkers(entry: URL): void {
  cluster.schedulingPolicy = cluster.SCHED_RR
  cluster.setupPrimary({
    exec: fileURLToPath(entry),
    args: [],
    execArgv: [...new Set([...process.execArgv, ...SERVING_FLAGS])],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    serialization: 'advanced',
  })
}

export interface WorkerEvents {
  /** Receives blocks of whole lines. */
  readonly onLines: (block: Buffer) => void
  /** Receives each new value of the fault that the worker has found in the store. */
  readonly onFault: (fault: PackedFault | undefined) => void
}

export function forkWorker({ onLines, onFault }: WorkerEvents): WorkerProcess {
  const worker = cluster.fork()
  const child = worker.process
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let lastId = 0
  let isGone = false
  let markReady: () => void = () => undefined
  const ready = new Promise<void>((resolve) => {
    markReady = resolve
  })
  worker.on('message', (said: FromWorker) => {
    if (said.kind === 'hello') {
      markReady()
      return
    }
    if (said.kind === 'fault') {
      onFault(said.fault)
      return
    }
    const caller = waiting.get(said.id)
    waiting.delete(said.id)
    if (said.kind === 'answer') caller?.resolve(said.value)
    else caller?.reject(unpackError(said.error))
  })
  // Ignore write errors for a worker that is exiting, because its exit is handled separately.
  worker.on('error', () => undefined)
  const output = child.stdout === null ? Promise.resolve() : forwardLines(child.stdout, onLines)
  const ended = new Promise<WorkerEnd>((resolve) => {
    child.once('exit', (code, signal) => {
      isGone = true
      markReady()
      for (const caller of waiting.values()) caller.reject(workerEnded())
      const end = signal === null ? { code: code ?? 1 } : { signal }
      // The timer is cleared as soon as the output ends.
      const grace = setTimeout(() => {
        resolve(end)
      }, OUTPUT_GRACE_MS)
      void output.then(() => {
        clearTimeout(grace)
        resolve(end)
      })
    })
  })
  const send = (message: ToWorker) => {
    if (!isGone && worker.isConnected()) worker.send(message)
  }
  return {
    pid: child.pid,
    ended,
    call(name, input) {
      const id = ++lastId
      const answer = new Promise<unknown>((resolve, reject) => {
        waiting.set(id, { resolve, reject })
      })
      void ready.then(() => {
        if (isGone) waiting.get(id)?.reject(workerEnded())
        else send({ kind: 'call', id, name, input })
      })
      return answer
    },
    passOn(signal) {
      void ready.then(() => {
        send({ kind: 'signal', signal })
      })
    },
    kill() {
      child.kill('SIGKILL')
    },
  }
}

function workerEnded(): Error {
  return new LatchkeyError('WORKER_ENDED', 'a worker process exited before it responded')
}

/**
 * Resolves at the end of the stream. An unfinished last line is dropped, because half a line would
 * corrupt the next one.
 */
function forwardLines(stream: Readable, onLines: (block: Buffer) => void): Promise<void> {
  let rest: Buffer = Buffer.alloc(0)
  stream.on('data', (chunk: Buffer) => {
    const end = chunk.lastIndexOf(LINE_FEED) + 1
    if (end === 0) {
      rest = Buffer.concat([rest, chunk])
      return
    }
    const whole = chunk.subarray(0, end)
    onLines(rest.length === 0 ? whole : Buffer.concat([rest, whole]))
    rest = chunk.subarray(end)
  })
  return new Promise((resolve) => {
    stream.once('close', resolve)
    stream.once('error', () => {
      resolve()
    })
  })
}

/**
 * Flags of serving processes. Garbage collection uses one thread, because each worker has one core,
 * and V8's helper threads cost a busy core a tenth of its work (docs/internals/performance.md). The
 * young generation gets more room, because nearly everything that a request allocates is garbage
 * once the response is sent.
 */
export const SERVING_FLAGS = [
  '--single-threaded-gc',
  '--min-semi-space-size=16',
  '--max-semi-space-size=32',
] as const
