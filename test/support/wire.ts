/** Sends requests as raw bytes over a TLS socket, and returns the responses unprocessed. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import aws4 from 'aws4'
import { REGION, type TestServer } from './server.ts'

export interface Answer {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
  readonly body: string
  /** The parsed body. */
  readonly json: Record<string, unknown>
}

export interface Signing {
  readonly path?: string
  readonly method?: string
  readonly body?: string | Buffer
  readonly headers?: Readonly<Record<string, string>>
  readonly region?: string
  readonly service?: string
  readonly accessKeyId?: string
  readonly secretAccessKey?: string
  /** Milliseconds since the Unix epoch (default: now). */
  readonly at?: number
  /** Lower-case names of headers to leave unsigned, so that a test can change or drop them. */
  readonly leftUnsigned?: readonly string[]
}

/** Returns requestMetadata with every required field. */
export function requestMetadata(
  kmsOperation: string,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    awsPrincipalArn: 'arn:aws:iam::123456789012:user/Alice',
    kmsKeyArn: 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    kmsOperation,
    kmsRequestId: randomUUID(),
    ...more,
  }
}

export function encryptBody(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    requestMetadata: requestMetadata('Encrypt'),
    plaintext: Buffer.from('a data key of thirty-two bytes!!').toString('base64'),
    encryptionAlgorithm: 'AES_GCM',
    ...more,
  }
}

/** Returns a Decrypt body for an Encrypt response. */
export function decryptBody(
  encrypted: Record<string, unknown>,
  more: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    requestMetadata: requestMetadata('Decrypt'),
    ciphertext: encrypted['ciphertext'],
    ciphertextMetadata: encrypted['ciphertextMetadata'],
    encryptionAlgorithm: 'AES_GCM',
    initializationVector: encrypted['initializationVector'],
    authenticationTag: encrypted['authenticationTag'],
    ...more,
  }
}

/** Formats a time in milliseconds since the Unix epoch as x-amz-date. */
export function amzDate(at: number): string {
  return new Date(at).toISOString().replace(/[:-]|\.\d{3}/g, '')
}

/** Returns a signed request's headers, including `Host`. `path` is relative to the URI path. */
export function signedHeaders(server: TestServer, signing: Signing = {}): Record<string, string> {
  // aws4's types lack one of its options. Assigning the request to a variable first avoids the excess property check.
  const request = {
    host: `localhost:${String(server.port)}`,
    path: `${server.uriPath}${signing.path ?? '/health'}`,
    method: signing.method ?? 'POST',
    service: signing.service ?? 'kms-xks-proxy',
    region: signing.region ?? REGION,
    headers: {
      'Content-Type': 'application/json',
      ...(signing.at === undefined ? {} : { 'X-Amz-Date': amzDate(signing.at) }),
      ...signing.headers,
    },
    body: signing.body ?? '',
    doNotEncodePath: true,
    extraHeadersToIgnore: Object.fromEntries(
      (signing.leftUnsigned ?? []).map((name) => [name, true]),
    ),
  }
  const signed = aws4.sign(request, {
    accessKeyId: signing.accessKeyId ?? server.credential.accessKeyId,
    secretAccessKey: signing.secretAccessKey ?? server.credential.secretAccessKey.reveal(),
  })
  return signed.headers as Record<string, string>
}

/** Returns a complete HTTP/1.1 request as bytes. */
export function requestBytes(
  head: {
    readonly method?: string
    readonly target: string
    readonly headers: Readonly<Record<string, string>>
  },
  body: string | Buffer = '',
): Buffer {
  const lines = Object.entries(head.headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.concat([
    Buffer.from(
      `${head.method ?? 'POST'} ${head.target} HTTP/1.1\r\n${lines.join('')}\r\n`,
      'latin1',
    ),
    Buffer.from(body),
  ])
}

/** Returns a complete signed request as bytes. An object body is sent as JSON. */
export function signedRequest(
  server: TestServer,
  path: string,
  body: string | Buffer | Record<string, unknown>,
  signing: Signing = {},
): Buffer {
  const sent = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
  const headers = signedHeaders(server, { ...signing, path, body: sent })
  return requestBytes(
    {
      ...(signing.method === undefined ? {} : { method: signing.method }),
      target: `${server.uriPath}${path}`,
      headers,
    },
    sent,
  )
}

export class Wire {
  readonly #socket: TLSSocket
  #received: Buffer = Buffer.alloc(0)
  #ended = false
  #wake: () => void = () => undefined

  constructor(socket: TLSSocket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    const end = () => {
      this.#ended = true
      this.#wake()
    }
    socket.on('close', end)
    socket.on('end', end)
    socket.on('error', end)
  }

  get socket(): TLSSocket {
    return this.#socket
  }

  write(bytes: Buffer | string): void {
    this.#socket.write(bytes)
  }

  /**
   * Returns the next complete response, or undefined if the connection was closed first.
   * @throws after `withinMs`
   */
  async answer(withinMs = 60_000): Promise<Answer | undefined> {
    return this.#wait(() => this.#take(), withinMs)
  }

  /** Resolves once the server has closed the connection. @throws after `withinMs` */
  async closed(withinMs = 60_000): Promise<void> {
    await this.#wait(() => (this.#ended ? true : undefined), withinMs)
  }

  destroy(): void {
    this.#socket.destroy()
  }

  async #wait<T>(take: () => T | undefined, withinMs: number): Promise<T | undefined> {
    const timeout = AbortSignal.timeout(withinMs)
    for (;;) {
      const taken = take()
      if (taken !== undefined || this.#ended) return taken
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve
        timeout.addEventListener(
          'abort',
          () => {
            reject(new Error('nothing came in time'))
          },
          { once: true },
        )
      })
    }
  }

  #take(): Answer | undefined {
    const end = this.#received.indexOf('\r\n\r\n')
    if (end < 0) return undefined
    const [statusLine = '', ...lines] = this.#received.toString('latin1', 0, end).split('\r\n')
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(':')
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
      }),
    )
    const whole = end + 4 + Number(headers.get('content-length') ?? 0)
    if (this.#received.length < whole) return undefined
    const body = this.#received.toString('utf8', end + 4, whole)
    this.#received = this.#received.subarray(whole)
    return {
      status: Number(statusLine.split(' ')[1]),
      headers,
      body,
      get json() {
        return JSON.parse(body) as Record<string, unknown>
      },
    }
  }
}

export async function openWire(server: TestServer, options: ConnectionOptions = {}): Promise<Wire> {
  const socket = connect({
    port: server.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: readFileSync(server.pki.caFile),
    ALPNProtocols: ['http/1.1'],
    ...options,
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
  })
  return new Wire(socket)
}

/** Sends bytes over a new connection and returns the response. */
export async function exchange(server: TestServer, bytes: Buffer | string): Promise<Answer> {
  const wire = await openWire(server)
  wire.write(bytes)
  try {
    const answer = await wire.answer()
    if (answer === undefined) throw new Error('the connection was closed without an answer')
    return answer
  } finally {
    wire.destroy()
  }
}

/** Sends a signed POST over a new connection. */
export function call(
  server: TestServer,
  path: string,
  body: string | Buffer | Record<string, unknown>,
  signing: Signing = {},
): Promise<Answer> {
  return exchange(server, signedRequest(server, path, body, signing))
}
