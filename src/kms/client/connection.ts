/** One connection to an XKS proxy over HTTP/1.1 or HTTP/2, which times every exchange. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import http2 from 'node:http2'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { systemClock } from '../../core/clock.ts'
import { readText } from '../../core/http-exchange.ts'
import { Deadline } from '../../core/deadline.ts'
import {
  dial,
  EndpointError,
  reasonOf,
  type ConnectPhases,
  type Endpoint,
  type DialOptions,
} from './dial.ts'

export interface WireRequest {
  readonly method?: string
  readonly target: string
  /** Includes `Host`, which HTTP/2 sends as `:authority`. A list may repeat names. */
  readonly headers: Readonly<Record<string, string>> | readonly (readonly [string, string])[]
  readonly body: string
}

export interface WireAnswer {
  readonly status: number
  /** Headers by lower-case name. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly text: string
  /** The parsed body; undefined when it is not JSON. */
  readonly body: unknown
  /** Milliseconds from the first byte of the request to the headers of the response. */
  readonly firstByteMs: number
  /** Milliseconds from the first byte of the request to the last byte of the response. */
  readonly totalMs: number
}

export interface Connection {
  readonly socket: TLSSocket
  readonly address: string
  readonly phases: ConnectPhases
  readonly protocol: 'http/1.1' | 'h2'
  isOpen(): boolean
  /**
   * Sends a request. HTTP/1.1 connections send one request at a time.
   * @throws EndpointError ENDPOINT_NO_ANSWER
   */
  exchange(request: WireRequest, timeoutMs: number): Promise<WireAnswer>
  close(): void
}

const clock = systemClock

/** @throws EndpointError */
export async function openConnection(
  endpoint: Endpoint,
  options: DialOptions,
): Promise<Connection> {
  const { socket, address, phases } = await dial(endpoint, options)
  const isHttp2 = socket.alpnProtocol === 'h2'
  const transport = isHttp2 ? overHttp2(socket, endpoint) : overHttp1(socket)
  let open = true
  socket.once('close', () => (open = false))
  // Errors are reported by the exchange in which they occur.
  socket.on('error', () => undefined)
  return {
    socket,
    address,
    phases,
    protocol: isHttp2 ? 'h2' : 'http/1.1',
    isOpen: () => open && !socket.destroyed,
    async exchange(request, timeoutMs) {
      const deadline = new Deadline(clock, timeoutMs)
      try {
        return await deadline.race(transport.exchange(request))
      } catch (cause) {
        socket.destroy()
        throw new EndpointError('ENDPOINT_NO_ANSWER', reasonOf(cause), { cause })
      }
    },
    close() {
      transport.close()
      socket.destroy()
    },
  }
}

interface Transport {
  exchange(request: WireRequest): Promise<WireAnswer>
  close(): void
}

/** An agent that uses only the given socket. */
class OneSocket extends http.Agent {
  readonly #socket: TLSSocket
  #isTaken = false

  constructor(socket: TLSSocket) {
    super({ keepAlive: true, maxSockets: 1 })
    this.#socket = socket
  }

  /** Must not throw: no caller in Node catches the error. */
  override createConnection(
    _options: http.ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): TLSSocket | undefined {
    if (this.#isTaken) {
      process.nextTick(() => {
        callback?.(new Error('the connection was closed'), this.#socket)
      })
      return undefined
    }
    this.#isTaken = true
    return this.#socket
  }
}

function overHttp1(socket: TLSSocket): Transport {
  const agent = new OneSocket(socket)
  return {
    exchange: (request) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed) throw new Error('the connection was closed')
        const startedAt = clock.monotonic()
        const outgoing = http.request({
          agent,
          method: request.method ?? 'POST',
          path: request.target,
          headers: toFlatHeaders(request.headers),
        })
        outgoing.once('error', reject)
        outgoing.once('response', (response) => {
          const firstByteMs = clock.monotonic() - startedAt
          collect(response, startedAt, firstByteMs).then((rest) => {
            resolve({ status: response.statusCode ?? 0, headers: response.headers, ...rest })
          }, reject)
        })
        outgoing.end(request.body)
      }),
    close() {
      agent.destroy()
    },
  }
}

function overHttp2(socket: TLSSocket, endpoint: Endpoint): Transport {
  const session = http2.connect(`https://${endpoint.host}:${String(endpoint.port)}`, {
    createConnection: () => socket,
  })
  session.on('error', () => undefined)
  return {
    exchange: (request) =>
      new Promise((resolve, reject) => {
        const startedAt = clock.monotonic()
        const stream = session.request({
          ':method': request.method ?? 'POST',
          ':path': request.target,
          ...toHttp2Headers(request.headers),
        })
        const onClose = () => {
          reject(new Error('the stream was closed'))
        }
        stream.once('error', reject)
        stream.once('response', ({ ':status': status, ...headers }) => {
          // Once the response headers have arrived, `collect` detects failures: the stream of a
          // complete response may close before it is read to the end.
          stream.off('close', onClose)
          const firstByteMs = clock.monotonic() - startedAt
          collect(stream, startedAt, firstByteMs).then((rest) => {
            resolve({ status: status ?? 0, headers, ...rest })
          }, reject)
        })
        stream.once('close', onClose)
        stream.end(request.body)
      }),
    close() {
      session.destroy()
    },
  }
}

async function collect(
  stream: AsyncIterable<unknown>,
  startedAt: number,
  firstByteMs: number,
): Promise<Pick<WireAnswer, 'text' | 'body' | 'firstByteMs' | 'totalMs'>> {
  const text = await readText(stream)
  const totalMs = clock.monotonic() - startedAt
  return { text, body: parseJson(text), firstByteMs, totalMs }
}

function pairsOf(headers: WireRequest['headers']): readonly (readonly [string, string])[] {
  return Array.isArray(headers)
    ? (headers as readonly (readonly [string, string])[])
    : Object.entries(headers as Record<string, string>)
}

/** Converts headers to a flat list of alternating names and values, which Node sends unchanged. */
function toFlatHeaders(headers: WireRequest['headers']): string[] {
  return pairsOf(headers).flat()
}

function toHttp2Headers(headers: WireRequest['headers']): Record<string, string> {
  return Object.fromEntries(
    pairsOf(headers).map(([name, value]) => {
      const lower = name.toLowerCase()
      return [lower === 'host' ? ':authority' : lower, value]
    }),
  )
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
