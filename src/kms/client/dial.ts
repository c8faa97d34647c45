/** Connects to an endpoint by DNS, TCP and TLS. Each step has its own timing and error code. */
// SPDX-License-Identifier: Apache-2.0
import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type { Duplex } from 'node:stream'
import { systemClock } from '../../core/clock.ts'
import { Deadline, DeadlineExceeded } from '../../core/deadline.ts'
import { LatchkeyError } from '../../core/errors.ts'

export interface Endpoint {
  /** A host name. `doctor` reports an IP address as a problem, because KMS does not accept one. */
  readonly host: string
  readonly port: number
  /** Address to connect to instead of the one that DNS returns. */
  readonly address?: string
  /** PEM bundle to trust instead of Node's own list. */
  readonly ca?: string
  /** Certificate and private key in PEM, presented when the proxy requests mTLS. */
  readonly clientCertificate?: { readonly certificate: string; readonly privateKey: string }
}

export interface DialOptions {
  readonly timeoutMs: number
  /** Protocols to offer by ALPN; if empty, the client does not use ALPN. */
  readonly alpn?: readonly string[]
  readonly tls?: Pick<ConnectionOptions, 'minVersion' | 'maxVersion' | 'ciphers'>
  /** Set to false to examine a connection whose certificate is not trusted. */
  readonly verify?: boolean
  /** Wraps the TCP socket; TLS then runs over the result. */
  readonly wrap?: (socket: Socket) => Duplex
}

export interface ConnectPhases {
  readonly dnsMs: number
  readonly connectMs: number
  readonly handshakeMs: number
}

export interface Connection {
  readonly socket: TLSSocket
  readonly address: string
  readonly phases: ConnectPhases
}

export type EndpointErrorCode =
  | 'ENDPOINT_NOT_FOUND' // the host name does not resolve to an address
  | 'ENDPOINT_UNREACHABLE' // no TCP connection before the timeout
  | 'ENDPOINT_TLS_FAILED' // no TLS connection before the timeout, or an untrusted certificate
  | 'ENDPOINT_NO_ANSWER' // connected, but the response timed out, or the connection was closed

export class EndpointError extends LatchkeyError<EndpointErrorCode> {
  override readonly name = 'EndpointError'
}

const clock = systemClock

/** Resolves a name to all its addresses, with the system's resolver. @throws EndpointError ENDPOINT_NOT_FOUND */
export async function resolveHost(
  host: string,
): Promise<readonly { readonly address: string; readonly family: number }[]> {
  const literal = host.replace(/^\[|\]$/g, '')
  if (isIP(literal) !== 0) return [{ address: literal, family: isIP(literal) }]
  try {
    return await lookup(host, { all: true })
  } catch (cause) {
    throw new EndpointError('ENDPOINT_NOT_FOUND', `cannot resolve ${host}: ${reasonOf(cause)}`, {
      cause,
    })
  }
}

/**
 * Connects over IPv4 if the name has an IPv4 address, as KMS does.
 * @throws EndpointError
 */
export async function dial(endpoint: Endpoint, options: DialOptions): Promise<Connection> {
  const deadline = new Deadline(clock, options.timeoutMs)
  const startedAt = clock.monotonic()
  const addresses = await within(
    deadline,
    resolveHost(endpoint.address ?? endpoint.host),
    'ENDPOINT_NOT_FOUND',
  )
  const { address } = addresses.find(({ family }) => family === 4) ??
    addresses[0] ?? { address: '' }
  const resolvedAt = clock.monotonic()
  const tcp = connect({ host: address, port: endpoint.port })
  tcp.setNoDelay(true)
  try {
    await within(deadline, once(tcp, 'connect'), 'ENDPOINT_UNREACHABLE')
    const connectedAt = clock.monotonic()
    const socket = connectTls(tlsOptions(endpoint, options, tcp))
    await within(deadline, handshake(socket), 'ENDPOINT_TLS_FAILED')
    const phases = {
      dnsMs: resolvedAt - startedAt,
      connectMs: connectedAt - resolvedAt,
      handshakeMs: clock.monotonic() - connectedAt,
    }
    return { socket, address, phases }
  } catch (error) {
    tcp.destroy()
    throw error
  }
}

function tlsOptions(endpoint: Endpoint, options: DialOptions, tcp: Socket): ConnectionOptions {
  const { clientCertificate: shown } = endpoint
  return {
    socket: options.wrap?.(tcp) ?? tcp,
    // SNI carries names only (RFC 6066, section 3).
    ...(isIP(endpoint.host) === 0 ? { servername: endpoint.host } : { host: endpoint.host }),
    rejectUnauthorized: options.verify ?? true,
    ...(options.alpn?.length === 0 ? {} : { ALPNProtocols: [...(options.alpn ?? ['http/1.1'])] }),
    ...(endpoint.ca === undefined ? {} : { ca: endpoint.ca }),
    ...(shown === undefined ? {} : { cert: shown.certificate, key: shown.privateKey }),
    ...options.tls,
  }
}

async function handshake(socket: TLSSocket): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
    socket.once('close', () => {
      reject(new Error('the connection was closed'))
    })
  })
}

async function within<T>(
  deadline: Deadline,
  work: Promise<T>,
  code: EndpointErrorCode,
): Promise<T> {
  try {
    return await deadline.race(work)
  } catch (cause) {
    if (cause instanceof EndpointError) throw cause
    throw new EndpointError(code, reasonOf(cause), { cause })
  }
}

/** Returns the reason on one line, without the file names and line numbers that OpenSSL adds. */
export function reasonOf(error: unknown): string {
  if (error instanceof DeadlineExceeded) return 'no response in time'
  if (!(error instanceof Error)) return String(error)
  const [, , , , , reason] = error.message.split(':')
  const isOpenSsl = (error as NodeJS.ErrnoException).code?.startsWith('ERR_SSL_') === true
  return isOpenSsl && reason !== undefined && reason !== '' ? reason : error.message.trim()
}
