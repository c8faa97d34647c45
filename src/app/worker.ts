/** One worker process: the server of app/server.ts, told when to start and to stop by its primary. */
// SPDX-License-Identifier: Apache-2.0
import { startServer, type RunningServer } from './server.ts'
import { unpackConfig } from '../config/transfer.ts'
import { answerCalls, onPrimaryGone } from './workers/worker-side.ts'

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
