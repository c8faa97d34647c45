/**
 * Connections from a load balancer that reports each client's address in a header before TLS
 * begins.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net'
import type { IsPeer } from './peers.ts'

export interface TrustedProxyOptions {
  /** Peers that must send the header. All other connections begin with TLS. */
  readonly isPeer: IsPeer
  /** Timeout for the header, in milliseconds. */
  readonly timeoutMs: number
  readonly onRefused: (reason: string, remoteAddress: string | undefined) => void
}

/**
 * Calls `start` with the connection's source when TLS can begin. The header is accepted from named
 * peers only: from any other peer it is not valid TLS, so the handshake fails. A named peer that
 * sends no header is a misconfigured load balancer.
 */
export function createProxied(
  options: TrustedProxyOptions,
): (socket: Socket, start: (source: ProxyHeader['source']) => void) => void {
  return (socket, start) => {
    if (!options.isPeer(socket.remoteAddress)) {
      start(undefined)
      return
    }
    const { remoteAddress } = socket
    let data: Buffer = Buffer.alloc(0)
    const end = () => {
      clearTimeout(timer)
      socket.removeListener('readable', onReadable)
      socket.removeListener('error', refuse)
      socket.removeListener('close', end)
    }
    const refuse = () => {
      end()
      options.onRefused('PROXY_HEADER', remoteAddress)
      socket.destroy()
    }
    const onReadable = () => {
      for (let chunk = read(socket); chunk !== null; chunk = read(socket)) {
        data = Buffer.concat([data, chunk])
      }
      const header = parseProxyHeader(data)
      if (header === 'incomplete') return
      if (header === 'invalid') {
        refuse()
        return
      }
      end()
      // A TLS socket reads this buffered data first.
      if (data.length > header.length) socket.unshift(data.subarray(header.length))
      start(header.source)
    }
    // Each connection has its own timer, which is cleared as soon as the header has arrived.
    const timer = setTimeout(refuse, options.timeoutMs)
    socket.on('readable', onReadable)
    socket.on('error', refuse)
    socket.on('close', end)
  }
}

function read(socket: Socket): Buffer | null {
  return socket.read() as Buffer | null
}

/** Facts that a load balancer reports about a connection that it forwards. */
interface ProxyHeader {
  /** Length of the header in bytes; TLS begins after it. */
  readonly length: number
  /** Absent for the load balancer's own health checks (LOCAL), and for families other than TCP. */
  readonly source?: { readonly address: string; readonly port: number }
}

type ProxyHeaderResult = ProxyHeader | 'incomplete' | 'invalid'

/**
 * The signature contains carriage returns and a NUL, so that no other protocol starts with the same
 * bytes (proxy-protocol.txt, 2.2).
 */
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const FIXED_BYTES = 16
/**
 * Maximum size of a header, enough for addresses and a few extensions. Real headers are smaller
 * than 300 bytes.
 */
const MAX_BYTES = 2048

const VERSION_2 = 0x20
const COMMAND = { local: 0x0, proxy: 0x1 }
const TCP4 = { code: 0x11, bytes: 12 }
const TCP6 = { code: 0x21, bytes: 36 }

/**
 * Parses a PROXY header. Has no side effects. @param data the bytes received so far, from the first
 * byte of the connection
 */
export function parseProxyHeader(data: Buffer): ProxyHeaderResult {
  const known = Math.min(data.length, SIGNATURE.length)
  if (!data.subarray(0, known).equals(SIGNATURE.subarray(0, known))) return 'invalid'
  if (data.length < FIXED_BYTES) return 'incomplete'
  const command = data.readUInt8(12) ^ VERSION_2
  const family = data.readUInt8(13)
  const length = FIXED_BYTES + data.readUInt16BE(14)
  if ((command !== COMMAND.local && command !== COMMAND.proxy) || length > MAX_BYTES)
    return 'invalid'
  if (data.length < length) return 'incomplete'
  if (command === COMMAND.local) return { length }
  const rest = data.subarray(FIXED_BYTES, length)
  if (family === TCP4.code) return withAddresses(length, rest, TCP4.bytes, formatIpv4)
  if (family === TCP6.code) return withAddresses(length, rest, TCP6.bytes, formatIpv6)
  return { length }
}

function withAddresses(
  length: number,
  rest: Buffer,
  addressBytes: number,
  format: (address: Buffer) => string,
): ProxyHeaderResult {
  if (rest.length < addressBytes) return 'invalid'
  const width = (addressBytes - 4) / 2
  const source = { address: format(rest.subarray(0, width)), port: rest.readUInt16BE(2 * width) }
  // The remaining bytes are extensions, which are not needed.
  return { length, source }
}

function formatIpv4(bytes: Buffer): string {
  return [...bytes].join('.')
}

/** Formats all eight groups without abbreviation, because the address is for a log. */
function formatIpv6(bytes: Buffer): string {
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':')
}
