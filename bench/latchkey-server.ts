/** Runs the proxy as `latchkey serve` does, with its log in a file. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { startServer } from '../src/app/server.ts'
import { loadConfig } from '../src/config/load.ts'

/** The longest time between two runs of a timer that is due each millisecond, less that millisecond. */
export interface Pause {
  /** By the clock, so with the time in which other processes had the core. */
  readonly wallMs: number
  /** Processor time of the event loop's thread in such a time: what the server itself is to blame for. */
  readonly cpuMs: number
}

const TIMER_MS = 1
const MS_PER_NS = 1e-6

/** Returns a function that yields the longest pause since its last call. */
function watchPauses(): () => Pause {
  // Linux, scheduler statistics of the first thread: nanoseconds on the processor come first.
  const file = `/proc/self/task/${String(process.pid)}/schedstat`
  const readCpuMs = () => Number(readFileSync(file, 'latin1').split(' ')[0]) * MS_PER_NS
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
// The bare server does not close connections after a number of requests, so this one must not either.
const tls =
  certificate === undefined || privateKey === undefined
    ? config.listener.tls
    : { ...config.listener.tls, certificate, privateKey }
const listener = { ...config.listener, tls, maxRequestsPerConnection: 0 }
const server = await startServer({ ...config, listener }, { logFile })
let takePause: (() => Pause) | undefined
process.on('message', (message) => {
  if (message !== 'pause') return
  // The timer costs processor time, so other benchmarks run without it.
  takePause ??= watchPauses()
  process.send?.(takePause())
})
process.send?.({ port: server.xks.port })
process.once('disconnect', () => {
  void server.stop().then(() => process.exit(0))
})
