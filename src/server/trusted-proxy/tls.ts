/**
 * TLS for connections from terminators: the listener's own certificate, with a separate authority
 * for the terminators' client certificates.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net'
import tls, { type TLSSocket, type TlsOptions } from 'node:tls'
import type { ForwardedByConfig } from '../../config/config.ts'
import { createIsPeer } from './peers.ts'
import type { TlsMaterial } from '../tls/material.ts'

export interface TrustedProxyTls {
  /**
   * Reports whether a connection comes from a terminator, according to its TCP address and
   * regardless of any PROXY header.
   */
  isOne(socket: Socket): boolean
  /** Starts TLS. */
  accept(socket: Socket): void
  setMaterial(material: TlsMaterial): void
}

export interface TrustedProxyTlsOptions {
  readonly config: ForwardedByConfig
  readonly material: TlsMaterial
  /** Options that apply to all connections. */
  readonly common: Pick<TlsOptions, 'ALPNProtocols' | 'handshakeTimeout'>
  readonly onSecure: (socket: TLSSocket) => void
  readonly onFailed: (error: Error, socket: TLSSocket) => void
}

/**
 * Uses a separate server, which never listens. If both authorities were in one list, the
 * terminators' authority could vouch for a KMS name, and KMS's public authority for a terminator's
 * name.
 */
export function createTerminators(options: TrustedProxyTlsOptions): TrustedProxyTls {
  const { config, material, common } = options
  const mutual = config.certificate !== undefined
  const server = tls.createServer({
    ...common,
    ...material.terminatorContext,
    requestCert: mutual,
    rejectUnauthorized: mutual,
  })
  server.on('secureConnection', options.onSecure)
  server.on('tlsClientError', options.onFailed)
  const isPeer = createIsPeer(config.peers)
  return {
    isOne: (socket) => isPeer(socket.remoteAddress),
    accept: (socket) => server.emit('connection', socket),
    setMaterial(next) {
      server.setSecureContext(next.terminatorContext ?? {})
    },
  }
}
