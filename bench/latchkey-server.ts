/** Runs the proxy as `latchkey serve` does, and writes its log to a file. */
// SPDX-License-Identifier: Apache-2.0
import { openSync, readSync } from 'node:fs'
import { startServer } from '../src/app/server.ts'
import { loadConfig } from '../src/config/load.ts'

/** The longest delay of a timer that is due every millisecond. */
export interface Pause {
  /** Wall-clock time, which includes time in which other processes used the core. */
  readonly wallMs: number
  /**
   * Processor time that the event loop's thread used during the delay, which is the part of the delay that the server
   * itself caused.
   */
  readonly cpuMs: number
}

const TIMER_MS = 1
const MS_PER_NS = 1e-6
const SCHEDSTAT_BYTES = 64
const SPACE = ' '

/** Returns a function that returns the longest pause since its last call. */
function watchPauses(): () => Pause {
  // The first number in the Linux scheduler statistics of the main thread is its processor time in nanoseconds. All
  // reads share one buffer, because readFileSync would allocate one per call and trigger garbage collections.
  const file = openSync(`/proc/self/task/${String(process.pid)}/schedstat`, 'r')
  const buffer = Buffer.alloc(SCHEDSTAT_BYTES)
  const readCpuMs = () => {
    readSync(file, buffer, 0, buffer.length, 0)
    return Number(buffer.toString('latin1', 0, buffer.indexOf(SPACE))) * MS_PER_NS
  }
  let last = { wall: performance.now(), cpu: readCpuMs() }
  let longest: Pause = { wallMs: 0, cpuMs: 0 }
  setInterval(() => {
    const now = { wall: performance.now(), cpu: readCpuMs() }
    longest = {
      wallMs: Math.max(longest.wallMs, now.wall - last.wall - TIMER_MS),
      cpuMs: Math.max(longest.cpuMs, now.cpu - last.cpu),
    }
    last = now
  }, TIMER_MS).unref()
  return () => {
    const found = longest
    longest = { wallMs: 0, cpuMs: 0 }
    return found
  }
}

const [configFile = '', logFile = '', certificate, privateKey] = process.argv.slice(2)
const config = await loadConfig(configFile)
// The bare server has no limit on requests per connection, so the proxy must not have one either.
const tls =
  certificate === undefined || privateKey === undefined
    ? config.listener.tls
    : { ...config.listener.tls, certificate, privateKey }
const listener = { ...config.listener, tls, maxRequestsPerConnection: 0 }
const server = await startServer({ ...config, listener }, { logFile })
let takePause: (() => Pause) | undefined
process.on('message', (message) => {
  if (message !== 'pause') return
  // The timer costs processor time, so it starts only when a benchmark asks for pauses.
  takePause ??= watchPauses()
  process.send?.(takePause())
})
process.send?.({ port: server.xks.port })
process.once('disconnect', () => {
  void server.stop().then(() => process.exit(0))
})
