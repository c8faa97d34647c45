/**
 * Identifies the caller by a client certificate that chains to the configured authority, or by a
 * bearer token. A browser presents its certificate even if another site caused the request, so
 * cross-site requests are refused.
 */
// SPDX-License-Identifier: Apache-2.0
import { X509Certificate, createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { TLSSocket, type SecureContextOptions } from 'node:tls'
import { isIP, type Socket } from 'node:net'
import { equalBytes } from '../core/constant-time.ts'
import type { Grant } from '../core/role.ts'
import { chainEndsAt } from '../core/peer-certificate.ts'
import type { AdminConfig } from '../config/config.ts'
import { AdminError } from './errors.ts'
import { type AdminPrincipal, describeGrants } from './principal.ts'

export interface AdminCall {
  readonly socket: Socket
  readonly authorization: string | undefined
}

export type Authenticate = (call: AdminCall) => Promise<AdminPrincipal | undefined>

/** Callers that the configuration does not list. */
export interface OtherCallers {
  /**
   * Finds the operator whose token has this SHA-256, in hex.
   * @throws StorageError if the store cannot be read
   */
  findByToken(sha256: string): Promise<Named | undefined>
  /** Verifies an identity provider's token. Absent if no provider is configured. */
  verifyIdToken?(token: string): Promise<Named | undefined>
}

interface Named {
  readonly name: string
  readonly grants: readonly Grant[]
  /** Whether the credential proves who is calling; see AdminPrincipal. */
  readonly isPersonal: boolean
}

/**
 * A token has 256 random bits, so its hash needs neither a salt nor a slow function.
 * @param isVerified reports whether the authority now in use verified a connection's certificate
 * @param now returns the wall time in milliseconds since the Unix epoch
 */
export function createAuthenticate(
  config: AdminConfig,
  isVerified: (socket: Socket) => boolean,
  now: () => number,
  others: OtherCallers,
): Authenticate {
  const tokens = config.tokens.map((token) => ({
    ...token,
    hash: Buffer.from(token.sha256, 'hex'),
  }))
  const subjects = new Map(
    config.clientCertificates?.subjects.map((subject) => [subject.commonName, subject]),
  )
  return async ({ socket, authorization }) => {
    if (authorization !== undefined) return byBearer(tokens, others, authorization)
    return isVerified(socket) ? byCertificate(subjects, socket, now()) : undefined
  }
}

interface Holder extends Grant {
  readonly person?: string
}

/** A principal from the configuration has exactly one role. */
function toPrincipal(
  name: string,
  { role, keyStores, person = name }: Holder,
  by: AdminPrincipal['by'],
): AdminPrincipal {
  const grant = keyStores === undefined ? { role } : { role, keyStores }
  return { name, grants: [grant], role: describeGrants([grant]), person, isPersonal: true, by }
}

interface HashedToken extends Holder {
  readonly name: string
  readonly hash: Buffer
}

/** Matches a compact JSON Web Token. Identity providers' tokens can be several kilobytes long. */
const ID_TOKEN = /^[A-Za-z0-9_-]{1,2048}\.[A-Za-z0-9_-]{1,8192}\.[A-Za-z0-9_-]{1,2048}$/

/** Accepts the token syntax of RFC 6750, section 2.1. */
async function byBearer(
  tokens: readonly HashedToken[],
  { findByToken, verifyIdToken }: OtherCallers,
  header: string,
): Promise<AdminPrincipal | undefined> {
  const token = /^bearer ([A-Za-z0-9._~+/-]{1,12288}=*)$/i.exec(header)?.[1]
  if (token === undefined) return undefined
  const hash = createHash('sha256').update(token).digest()
  const configured = findConfigured(tokens, hash)
  if (configured !== undefined) return toPrincipal(configured.name, configured, 'token')
  if (ID_TOKEN.test(token)) return toCaller(await verifyIdToken?.(token), 'oidc')
  return toCaller(await findByToken(hash.toString('hex')), 'token')
}

/** Compares every hash, so that timing does not reveal which token matches. */
function findConfigured(tokens: readonly HashedToken[], hash: Buffer): HashedToken | undefined {
  let found: HashedToken | undefined
  for (const one of tokens) if (equalBytes(one.hash, hash)) found = one
  return found
}

/** The operator's name identifies the person, for stored tokens as well as ID tokens. */
function toCaller(found: Named | undefined, by: AdminPrincipal['by']): AdminPrincipal | undefined {
  if (found === undefined || found.grants.length === 0) return undefined
  const { name, grants, isPersonal } = found
  return { name, grants, role: describeGrants(grants), person: name, isPersonal, by }
}

/**
 * `authorized` alone proves nothing: Node sets it on a resumed TLS 1.3 session without any
 * certificate. So a certificate must be present, must chain to the authority, and must carry a
 * single configured common name. Validity dates are checked only during the handshake; the
 * connection may outlive them.
 */
function byCertificate(
  subjects: ReadonlyMap<string, Holder>,
  socket: Socket,
  now: number,
): AdminPrincipal | undefined {
  if (!(socket instanceof TLSSocket) || subjects.size === 0) return undefined
  if (socket.getPeerX509Certificate() === undefined || !socket.authorized) return undefined
  if (now >= chainEndsAt(socket)) return undefined
  const commonName: unknown = socket.getPeerCertificate().subject.CN
  if (typeof commonName !== 'string') return undefined
  const holder = subjects.get(commonName)
  if (holder === undefined) return undefined
  return toPrincipal(commonName, holder, 'certificate')
}

/** The parts of a request that show which page sent the request. */
export interface CallSource {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  /** Whether the listener speaks TLS. */
  readonly isTls: boolean
}

/**
 * Refuses cross-site requests from a browser. Browsers name the page in Origin and Sec-Fetch-Site.
 * A browser that sends neither header still cannot post JSON across origins without a preflight
 * request, which this listener never answers. Checking Host prevents DNS rebinding.
 * @param isOwnName reports whether a host name belongs to the listener
 * @throws AdminError CROSS_SITE, WRONG_HOST or CONTENT_TYPE
 */
export function checkSource(
  { method, headers, isTls }: CallSource,
  isOwnName: (name: string) => boolean,
): void {
  const host = parseHost(headers.host)
  if (host === undefined || !isOwnName(host.hostname.replace(/^\[|\]$/g, ''))) {
    throw new AdminError('WRONG_HOST', 'the Host header does not match any name of this listener', {
      hint: 'to accept requests for this name, add it to admin.names',
    })
  }
  const site = headers['sec-fetch-site']
  const isForeignSite = site !== undefined && site !== 'same-origin' && site !== 'none'
  if (isForeignSite || !isOwnOrigin(headers.origin, host, isTls)) {
    throw new AdminError('CROSS_SITE', 'cross-origin requests to this listener are not allowed')
  }
  if (method === 'POST' && !/^application\/json[ \t]*(;|$)/i.test(headers['content-type'] ?? '')) {
    throw new AdminError('CONTENT_TYPE', 'expected the content type application/json')
  }
}

function parseHost(header: string | undefined): URL | undefined {
  // The header must be a host name or address with an optional port, without user information or a
  // path.
  if (header === undefined || !/^[A-Za-z0-9._:[\]-]{1,255}$/.test(header)) return undefined
  return URL.canParse(`https://${header}`) ? new URL(`https://${header}`) : undefined
}

function isOwnOrigin(origin: string | undefined, host: URL, isTls: boolean): boolean {
  if (origin === undefined) return true
  if (!URL.canParse(origin)) return false
  const { protocol, hostname, port } = new URL(origin)
  if (protocol !== 'https:' && (isTls || protocol !== 'http:')) return false
  // Either side may omit the scheme's default port.
  const ports = protocol === 'https:' ? ['', '443'] : ['', '80']
  const isSamePort = port === host.port || (ports.includes(port) && ports.includes(host.port))
  return hostname === host.hostname && isSamePort
}

/** Accepts addresses, localhost, names in the listener's certificate, and configured names. */
export function createIsOwnName(
  { host, names = [] }: Pick<AdminConfig, 'host' | 'names'>,
  tls: SecureContextOptions | undefined,
): (name: string) => boolean {
  const own = new Set(['localhost', host, ...names].map((name) => name.toLowerCase()))
  const certificate = Buffer.isBuffer(tls?.cert) ? new X509Certificate(tls.cert) : undefined
  return (name) => isIP(name) !== 0 || own.has(name) || certificate?.checkHost(name) !== undefined
}
