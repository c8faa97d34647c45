/** The keep-alive client: counts the exchanges that complete over persistent TLS connections in a given period. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'

export interface LoadPlan {
  readonly port: number
  readonly caFile: string
  readonly connections: number
  readonly seconds: number
  /** Complete HTTP/1.1 requests, sent in rotation. */
  readonly requests: readonly string[]
  /** Core to pass to taskset (default: the second one). */
  readonly core?: string
  /**
   * Opens `of` times as many connections, but uses only every `of`-th one, starting at index `take`. A server assigns
   * connections to its workers in turn, so this selects a worker.
   */
  readonly connection?: { readonly of: number; readonly take: number }
  /** Whether to yield the core while waiting, for runs in which the client shares it with the server. */
  readonly sleeps?: boolean
}

const HEADER_END = Buffer.from('\r\n\r\n')
/** Time for connecting and for the last responses, in milliseconds. */
const PATIENCE_MS = 10_000

/**
 * Returns the length of the first complete response in `data`, or 0 if it is incomplete. @throws if the status is not
 * 200
 */
function answerLength(data: Buffer): number {
  const end = data.indexOf(HEADER_END)
  if (end < 0) return 0
  const head = data.toString('latin1', 0, end)
  if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(`unexpected answer: ${data.toString()}`)
  const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1])
  const whole = end + HEADER_END.length + length
  return data.length >= whole ? whole : 0
}

function open(plan: LoadPlan): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        port: plan.port,
        host: '127.0.0.1',
        servername: 'localhost',
        ca: readFileSync(plan.caFile),
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

async function openAll(plan: LoadPlan): Promise<readonly TLSSocket[]> {
  const { connection, connections } = plan
  if (connection === undefined)
    return Promise.all(Array.from({ length: connections }, () => open(plan)))
  const sockets: TLSSocket[] = []
  for (let i = 0; i < connections * connection.of; i++) sockets.push(await open(plan))
  const isUsed = (_socket: TLSSocket, i: number) => i % connection.of === connection.take
  for (const [i, socket] of sockets.entries()) if (!isUsed(socket, i)) socket.destroy()
  return sockets.filter(isUsed)
}

/** Returns responses per second. */
async function run(plan: LoadPlan): Promise<number> {
  const requests = plan.requests.map((text) => Buffer.from(text))
  const sockets = await openAll(plan)
  let next = 0
  let answers = 0
  let running = true
  const turns = sockets.map(
    (socket) =>
      new Promise<void>((resolve, reject) => {
        let pending: Buffer = Buffer.alloc(0)
        const send = () => {
          if (!running) {
            resolve()
            return
          }
          const request = requests[next++ % requests.length]
          if (request !== undefined) socket.write(request)
        }
        socket.on('data', (chunk: Buffer) => {
          pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
          try {
            const length = answerLength(pending)
            if (length === 0) return
            pending = pending.subarray(length)
          } catch (error) {
            reject(error instanceof Error ? error : new Error('failed'))
            return
          }
          answers += 1
          send()
        })
        socket.on('close', () => {
          reject(new Error('the server closed a connection'))
        })
        send()
      }),
  )
  // This client never sleeps, because waking it would cost the server processor time. Waking is expensive on a virtual
  // machine, and would occur only while the server is slower than the client.
  const spin = () => {
    if (running) setImmediate(spin)
  }
  if (plan.sleeps !== true) spin()
  const startedAt = performance.now()
  const stop = setTimeout(() => {
    running = false
  }, plan.seconds * 1000)
  await Promise.all(turns)
  clearTimeout(stop)
  const rate = answers / ((performance.now() - startedAt) / 1000)
  for (const socket of sockets) {
    socket.removeAllListeners('close')
    socket.destroy()
  }
  return rate
}

/** Reports the failure and exits, although other connections may still be busy. */
function fail(error: unknown): void {
  process.send?.({ error: String(error) }, () => {
    process.exit()
  })
}

// The client is a separate process, so that it can be pinned to a different core than the server.
process.once('message', (message) => {
  const plan = message as LoadPlan
  const impatience = setTimeout(
    fail,
    plan.seconds * 1000 + PATIENCE_MS,
    new Error('the server did not respond'),
  )
  run(plan).then((rate) => {
    clearTimeout(impatience)
    process.send?.({ rate }, () => {
      process.disconnect()
    })
  }, fail)
})
