/** One worker process: the server of app/server.ts, told when to start and to stop by its primary. */
// SPDX-License-Identifier: Apache-2.0
import cluster from 'node:cluster'
import { unpackConfig } from '../config/transfer.ts'
import { type RunningServer, startServer } from './server.ts'
import { type CallName, type FromWorker, packError, type ToWorker } from './workers/messages.ts'

type CallHandlers = Readonly<Record<CallName, (input: unknown) => unknown>>

/** Answers the primary's calls. Signals that it passes on reach the handlers of `process`. */
function answerCalls(handlers: CallHandlers): void {
  process.on('message', (message) => {
    const said = message as ToWorker
    // Emitted rather than sent by kill: a signal without a handler would end the process.
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
 * Calls `end` when the primary process is gone, however it went: the kernel closes the line. Node by
 * itself would end the process at once, in the middle of its answers.
 */
function onPrimaryGone(end: () => void): void {
  const { worker } = cluster
  worker?.once('disconnect', () => {
    worker.exitedAfterDisconnect = true
    end()
  })
}

/** What the primary sends along with `start`. */
export interface WorkerStart {
  readonly config: unknown
  readonly number: number
  readonly group: string
}

/** What it gets back. */
export type WorkerFacts = Pick<RunningServer, 'xks' | 'ping' | 'facts'>

/** What is being answered when the primary dies has this long to end. */
const ORPHAN_GRACE_MS = 1000

let server: Promise<RunningServer> | undefined
let stopped: Promise<void> | undefined

/** However often it is asked for. */
function stop(): Promise<void> {
  stopped ??= (async () => {
    await (await server)?.stop()
  })()
  return stopped
}

/** After a signal that was meant for this process alone, or for all of the group. */
function stopAndExit(): void {
  stop().then(
    () => process.exit(0),
    () => process.exit(1),
  )
}

process.on('SIGTERM', stopAndExit)
process.on('SIGINT', stopAndExit)
process.on('SIGHUP', () => {
  // The primary gets the same signal, and has it looked after in all workers.
})
onPrimaryGone(() => {
  // The last resort of this process, which nothing may take away.
  setTimeout(() => process.exit(1), ORPHAN_GRACE_MS)
  stopAndExit()
})
answerCalls({
  async start(input) {
    const { config, number, group } = input as WorkerStart
    process.title = `latchkey worker ${String(number)}`
    server = startServer(unpackConfig(config), { worker: { number, group } })
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
  async metrics() {
    return (await server)?.metricsSnapshot()
  },
  stop,
})
