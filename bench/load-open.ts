/**
 * An open-loop client: requests are due at fixed times, and waiting for a free connection counts toward their latency.
 * Requests are signed beforehand, so that a client on one core can overload a server on another.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'

export interface Phase {
  /** Requests per second. */
  readonly rate: number
  readonly seconds: number
}

export interface OpenPlan {
  readonly port: number
  readonly caFile: string
  readonly connections: number
  readonly phases: readonly Phase[]
  /** Complete HTTP/1.1 requests, sent in rotation. */
  readonly requests: readonly string[]
  /** Whether to yield the core while waiting, for runs in which the client shares it with the server. */
  readonly sleeps?: boolean
  /**
   * Whether to prepare the requests, send `ready`, and wait for a message with the port, so that the first request
   * follows the server's startup immediately.
   */
  readonly waits?: boolean
}

export interface PhaseResult extends Phase {
  readonly due: number
  /** Number of responses by HTTP status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Number of responses with status 200 within KMS's timeout of 250 ms, measured from when the request was due. */
  readonly inTime: number
  /** Number of requests that were not sent because no connection was free, or that got no response. */
  readonly unanswered: number
  /** Latencies of all responses in milliseconds, measured from when the requests were due. */
  readonly ms: { readonly p50: number; readonly p99: number; readonly p999: number; max: number }
  /** Number of responses with a status other than 200, excluding the phase's first second. */
  readonly refusedLater: number
}

const KMS_PATIENCE_MS = 250
const HEADER_END = Buffer.from('\r\n\r\n')
const SETTLE_MS = 3000
const CALM_MS = 1000
const NO_PHASE = -1
const OPEN_AT_A_TIME = 16

interface Connection {
  readonly socket: TLSSocket
  pending: Buffer
  dueAt: number
  phase: number
}

class Tally {
  due = 0
  readonly latencies: number[] = []
  readonly statuses: Record<string, number> = {}
  refusedLater = 0
  inTime = 0
}

function open(plan: OpenPlan, ca: Buffer): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        ...{ port: plan.port, host: '127.0.0.1', servername: 'localhost', ca },
        ALPNProtocols: ['http/1.1'],
      },
      () => {
        socket.setNoDelay(true)
        resolve(socket)
      },
    )
    socket.once('error', reject)
  })
}

/**
 * Removes a complete response from the start of the buffer and returns its status. Returns undefined if the response is
 * incomplete.
 */
function takeStatus(connection: Connection): string | undefined {
  const end = connection.pending.indexOf(HEADER_END)
  if (end < 0) return undefined
  const head = connection.pending.toString('latin1', 0, end)
  const whole = end + HEADER_END.length + Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
  if (connection.pending.length < whole) return undefined
  connection.pending = connection.pending.subarray(whole)
  return head.slice(9, 12)
}

async function run(given: OpenPlan): Promise<readonly PhaseResult[]> {
  const requests = given.requests.map((text) => Buffer.from(text))
  const plan = given.waits === true ? { ...given, port: await askForPort() } : given
  const ca = readFileSync(plan.caFile)
  const free: Connection[] = []
  while (free.length < plan.connections) {
    const some = Math.min(OPEN_AT_A_TIME, plan.connections - free.length)
    for (const socket of await Promise.all(Array.from({ length: some }, () => open(plan, ca))))
      free.push({ socket, pending: Buffer.alloc(0), dueAt: 0, phase: 0 })
  }
  const counters = plan.phases.map(() => new Tally())
  const waiting: { dueAt: number; phase: number }[] = []
  let waitingFrom = 0
  let sent = 0

  function send(connection: Connection, dueAt: number, phase: number): void {
    connection.dueAt = dueAt
    connection.phase = phase
    const request = requests[sent++ % requests.length]
    if (request !== undefined) connection.socket.write(request)
  }

  const startedAt: number[] = []
  for (const connection of free) {
    connection.socket.on('data', (chunk: Buffer) => {
      connection.pending =
        connection.pending.length === 0 ? chunk : Buffer.concat([connection.pending, chunk])
      const status = takeStatus(connection)
      if (status === undefined) return
      const now = performance.now()
      const counter = counters[connection.phase]
      counter?.latencies.push(now - connection.dueAt)
      if (counter !== undefined) {
        counter.statuses[status] = (counter.statuses[status] ?? 0) + 1
        if (status === '200' && now - connection.dueAt <= KMS_PATIENCE_MS) counter.inTime += 1
        if (status !== '200' && now - (startedAt[connection.phase] ?? now) > 1000)
          counter.refusedLater += 1
      }
      const next = waiting[waitingFrom]
      if (next === undefined) free.push(connection)
      else {
        waitingFrom += 1
        send(connection, next.dueAt, next.phase)
      }
    })
  }

  // The server closes connections that have never been used, so send one request on each.
  for (const connection of free.splice(0)) send(connection, performance.now(), NO_PHASE)
  if (plan.waits !== true) await new Promise((resolve) => setTimeout(resolve, CALM_MS))
  for (const [phase, { rate, seconds }] of plan.phases.entries()) {
    const from = performance.now()
    startedAt.push(from)
    const counter = counters[phase]
    if (counter === undefined) continue
    const total = Math.round(rate * seconds)
    while (counter.due < total) {
      // The first request is due at once, so request k is due k intervals after the start.
      const reached = Math.min(total, 1 + Math.floor(((performance.now() - from) / 1000) * rate))
      for (; counter.due < reached; counter.due++) {
        const dueAt = from + (counter.due / rate) * 1000
        const connection = free.pop()
        if (connection === undefined) waiting.push({ dueAt, phase })
        else send(connection, dueAt, phase)
      }
      await new Promise((resolve) =>
        plan.sleeps === true ? setTimeout(resolve, 1) : setImmediate(resolve),
      )
    }
  }
  const until = performance.now() + SETTLE_MS
  while (free.length < plan.connections && performance.now() < until)
    await new Promise((resolve) => setTimeout(resolve, 10))
  for (const { socket } of free) socket.destroy()
  return plan.phases.map((phase, i) => toResult(phase, counters[i] ?? new Tally()))
}

async function askForPort(): Promise<number> {
  process.send?.('ready')
  const [port] = (await once(process, 'message')) as [number]
  return port
}

function toResult(phase: Phase, counter: Tally): PhaseResult {
  const sorted = Float64Array.from(counter.latencies).sort()
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
  return {
    ...phase,
    due: counter.due,
    statuses: counter.statuses,
    inTime: counter.inTime,
    unanswered: counter.due - sorted.length,
    ms: { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) },
    refusedLater: counter.refusedLater,
  }
}

// The client is a separate process, so that it can be pinned to a different core than the server.
process.once('message', (plan) => {
  run(plan as OpenPlan).then(
    (results) =>
      process.send?.({ results }, () => {
        process.exit()
      }),
    (error: unknown) =>
      process.send?.({ error: String(error) }, () => {
        process.exit()
      }),
  )
})
