/**
 * TLS key exchange groups: the groups that the listeners offer, and the group that a handshake
 * agreed on.
 */
// SPDX-License-Identifier: Apache-2.0
import { createSecureContext, type TLSSocket } from 'node:tls'

/**
 * Hybrid of X25519 and ML-KEM-768, which protects recorded traffic from future quantum computers.
 */
const HYBRID = 'X25519MLKEM768'
const CLASSIC = 'X25519:P-256:P-384'

let supported: string | undefined

/**
 * Returns the groups in order of preference, for `ecdhCurve`. The hybrid comes first if OpenSSL has
 * it (3.5 and later).
 */
export function tlsGroups(): string {
  if (supported !== undefined) return supported
  try {
    createSecureContext({ ecdhCurve: HYBRID })
    supported = `${HYBRID}:${CLASSIC}`
  } catch {
    supported = CLASSIC
  }
  return supported
}

/** Names of the groups by their code in IANA's registry TLS Supported Groups. */
const NAMES: ReadonlyMap<number, string> = new Map([
  [0x17, 'P-256'],
  [0x18, 'P-384'],
  [0x19, 'P-521'],
  [0x1d, 'X25519'],
  [0x1e, 'X448'],
  [0x11eb, 'SecP256r1MLKEM768'],
  [0x11ec, HYBRID],
  [0x11ed, 'SecP384r1MLKEM1024'],
])

const NAMED_SESSION = Buffer.from('\0nodejs:tls:session:1\0')
const SEQUENCE = 0x30
/** Tag of kex_group in OpenSSL's SSL_SESSION_ASN1: [19] EXPLICIT INTEGER. */
const KEX_GROUP = 0xb3

/**
 * Returns the group of a finished handshake, on a client or a server; `unknown` if OpenSSL does not
 * report it.
 */
export function groupOf(socket: Pick<TLSSocket, 'getSession'>): string {
  // Node.js cannot report the group on a server, or a hybrid group on a client, so parse the
  // session.
  const session = socket.getSession()
  if (session === undefined) return 'unknown'
  const group = parseGroup(session)
  // Overwrite the buffer, because it contains the session secret.
  session.fill(0)
  return group === undefined ? 'unknown' : (NAMES.get(group) ?? `0x${group.toString(16)}`)
}

/**
 * Returns the group's code in a serialized session. This is a pure function.
 * @param session a session in OpenSSL's DER form, with or without the server name that Node.js 24
 * puts before it
 */
export function parseGroup(session: Buffer): number | undefined {
  const outer = readElement(session, startOfDer(session))
  if (outer?.tag !== SEQUENCE) return undefined
  for (let at = outer.start; at < outer.end;) {
    const element = readElement(session, at)
    if (element === undefined || element.end > outer.end) return undefined
    if (element.tag === KEX_GROUP) {
      const integer = readElement(session, element.start)
      const size = integer === undefined ? 0 : integer.end - integer.start
      if (integer?.tag !== 2 || integer.end > element.end || size < 1 || size > 4) return undefined
      return session.readUIntBE(integer.start, size)
    }
    at = element.end
  }
  return undefined
}

/** On a client, Node.js 24.18 prepends a marker, a two-byte length and the server name. */
function startOfDer(session: Buffer): number {
  const length = NAMED_SESSION.length
  const isNamed = session.subarray(0, length).equals(NAMED_SESSION) && session.length >= length + 2
  return isNamed ? length + 2 + session.readUInt16BE(length) : 0
}

function readElement(bytes: Buffer, at: number) {
  const [tag, first] = [bytes[at], bytes[at + 1]]
  if (tag === undefined || first === undefined) return undefined
  const more = first < 0x80 ? 0 : first & 0x7f
  const start = at + 2 + more
  if (more > 4 || start > bytes.length) return undefined
  const length = more === 0 ? (first < 0x80 ? first : 0) : bytes.readUIntBE(at + 2, more)
  const end = start + length
  return end > bytes.length ? undefined : { tag, start, end }
}
