/** The PROXY protocol, version 2: who called a load balancer that passes TCP on, said before the first byte of TLS. */
// SPDX-License-Identifier: Apache-2.0

/** What a load balancer says of the connection that it passes on. */
export interface ProxyHeader {
  /** Bytes of the header; TLS begins behind them. */
  readonly length: number
  /** Absent for its own health checks (LOCAL), and for families that are not TCP. */
  readonly source?: { readonly address: string; readonly port: number }
}

export type ProxyHeaderResult = ProxyHeader | 'incomplete' | 'invalid'

/** proxy-protocol.txt, 2.2: carriage returns and a NUL, so that no other protocol starts like this. */
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const FIXED_BYTES = 16
/** Addresses and a few extensions; real ones have under 300 bytes. */
const MAX_BYTES = 2048

const VERSION_2 = 0x20
const COMMAND = { local: 0x0, proxy: 0x1 }
const TCP4 = { code: 0x11, bytes: 12 }
const TCP6 = { code: 0x21, bytes: 36 }

/** Pure. @param data what has arrived so far, from the first byte of the connection */
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
  // What follows are extensions, none of which is needed.
  return { length, source }
}

function formatIpv4(bytes: Buffer): string {
  return [...bytes].join('.')
}

/** In full, without the short form: it is for a log. */
function formatIpv6(bytes: Buffer): string {
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':')
}
