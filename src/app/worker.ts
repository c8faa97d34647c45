/**
 * Runs one worker process, which contains the server of app/server.ts. Its primary starts and stops
 * it.
 */
// SPDX-License-Identifier: Apache-2.0
import cluster from 'node:cluster'
import { unpackConfig } from '../config/transfer.ts'
import { type RunningServer, startServer } from './server.ts'
import {
  type CallName,
  type FromWorker,
  packError,
  packFault,
  type ToWorker,
} from './workers/messages.ts'

type CallHandlers = Readonly<Record<CallName, (input: unknown) => unknown>>

/** Handles the primary's calls. Forwarded signals reach the handlers of `process`. */
function answerCalls(handlers: CallHandlers): void {
  process.on('message', (message) => {
    const said = message as ToWorker
    // The signal is emitted rather than sent with kill, because a signal without a handler would
    // end the process.
    if (said.kind === 'signal') process.emit(said.signal, said.signal)
    else void answer(said, handlers[said.name])
  })
  say({ kind: 'hello' })
}

async function answer(
  { id, name, input }: Extract<ToWorker, { kind: 'call' }>,
  handle: (input: unknown) => unknown,
): Promise<void> {
  try {
    const value: unknown = await handle(input)
    say({ kind: 'answer', id, value }, () => {
      if (name === 'stop') process.exit(0)
    })
  } catch (error) {
    say({ kind: 'failure', id, error: packError(error) }, () => {
      if (name === 'start' || name === 'stop') process.exit(1)
    })
  }
}

function say(message: FromWorker, done: () => void = () => undefined): void {
  process.send?.(message, undefined, undefined, done)
}

/**
 * Calls `end` when the primary exits, for whatever reason, because the kernel then closes the
 * channel. Without this handler, Node would terminate the worker immediately, in the middle of its
 * responses.
 */
function onPrimaryGone(end: () => void): void {
  const { worker } = cluster
  worker?.once('disconnect', () => {
    worker.exitedAfterDisconnect = true
    end()
  })
}

/** Input of the call `start`. */
export interface WorkerStart {
  readonly config: unknown
  readonly number: number
  readonly group: string
}

/** The worker's response to `start`. */
export type WorkerFacts = Pick<RunningServer, 'xks' | 'ping' | 'facts'>

/** Milliseconds that responses in progress have to finish after the primary dies. */
const ORPHAN_GRACE_MS = 1000

let server: Promise<RunningServer> | undefined
let stopped: Promise<void> | undefined

/** Stops the server only once, even if it is called again. */
function stop(): Promise<void> {
  stopped ??= (async () => {
    await (await server)?.stop()
  })()
  return stopped
}

/** Called after a signal to this process alone, or to its entire process group. */
function stopAndExit(): void {
  stop().then(
    () => process.exit(0),
    () => process.exit(1),
  )
}

process.on('SIGTERM', stopAndExit)
process.on('SIGINT', stopAndExit)
process.on('SIGHUP', () => {
  // The primary gets the same signal, and reloads all workers.
})
onPrimaryGone(() => {
  // The last resort for ending this process. Nothing may cancel it.
  setTimeout(() => process.exit(1), ORPHAN_GRACE_MS)
  stopAndExit()
})
answerCalls({
  async start(input) {
    const { config, number, group } = input as WorkerStart
    process.title = `latchkey worker ${String(number)}`
    server = startServer(unpackConfig(config), {
      worker: { number, group },
      onFault: (fault) => {
        say({ kind: 'fault', fault: fault && packFault(fault) })
      },
    })
    const { xks, ping, facts } = await server
    return { xks, ping, facts }
  },
  async serve() {
    ;(await server)?.startServing()
  },
  async ready() {
    return (await server)?.isReady() ?? false
  },
  async reload() {
    await (await server)?.reloadCertificates()
  },
  async apply(input) {
    return (await (await server)?.apply(unpackConfig(input))) ?? []
  },
  async metrics() {
    return (await server)?.metricsSnapshot()
  },
  stop,
})
