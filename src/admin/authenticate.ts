/**
 * Identifies the caller by a client certificate that chains to the configured authority, or by a
 * bearer token.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { TLSSocket } from 'node:tls'
import type { Socket } from 'node:net'
import { equalBytes } from '../core/constant-time.ts'
import type { AdminConfig, AdminRole } from '../config/config.ts'

export interface AdminPrincipal {
  /** Recorded as the operator of every change. */
  readonly name: string
  readonly role: AdminRole
  readonly by: 'certificate' | 'token'
}

export interface AdminCall {
  readonly socket: Socket
  readonly authorization: string | undefined
}

export type Authenticate = (call: AdminCall) => AdminPrincipal | undefined

/**
 * A token has 256 random bits, so its hash needs neither a salt nor a slow function. @param
 * isVerified reports whether a connection was made under the authority in use now
 */
export function createAuthenticate(
  config: AdminConfig,
  isVerified: (socket: Socket) => boolean,
): Authenticate {
  const tokens = config.tokens.map((token) => ({
    ...token,
    hash: Buffer.from(token.sha256, 'hex'),
  }))
  const subjects = new Map(
    config.clientCertificates?.subjects.map(({ commonName, role }) => [commonName, role]),
  )
  return ({ socket, authorization }) => {
    if (authorization !== undefined) return byToken(tokens, authorization)
    return isVerified(socket) ? byCertificate(subjects, socket) : undefined
  }
}

interface HashedToken {
  readonly name: string
  readonly role: AdminRole
  readonly hash: Buffer
}

/** RFC 6750, 2.1. Every hash is compared, so that timing does not reveal which token matches. */
function byToken(tokens: readonly HashedToken[], header: string): AdminPrincipal | undefined {
  const token = /^bearer ([A-Za-z0-9._~+/-]{1,256}=*)$/i.exec(header)?.[1]
  if (token === undefined) return undefined
  const hash = createHash('sha256').update(token).digest()
  let found: HashedToken | undefined
  for (const one of tokens) if (equalBytes(one.hash, hash)) found = one
  return found && { name: found.name, role: found.role, by: 'token' }
}

/**
 * `authorized` alone proves nothing: Node sets it on a resumed TLS 1.3 session without any
 * certificate. So a certificate must be present, must chain, and must carry a single configured
 * common name.
 */
function byCertificate(
  subjects: ReadonlyMap<string, AdminRole>,
  socket: Socket,
): AdminPrincipal | undefined {
  if (!(socket instanceof TLSSocket) || subjects.size === 0) return undefined
  if (socket.getPeerX509Certificate() === undefined || !socket.authorized) return undefined
  const commonName: unknown = socket.getPeerCertificate().subject.CN
  if (typeof commonName !== 'string') return undefined
  const role = subjects.get(commonName)
  return role && { name: commonName, role, by: 'certificate' }
}
