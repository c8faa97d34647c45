/** TLS for connections of named terminators: the same certificate of ours, another authority for theirs. */
// SPDX-License-Identifier: Apache-2.0
import type { Socket } from 'node:net'
import tls, { type TLSSocket, type TlsOptions } from 'node:tls'
import type { ForwardedByConfig } from '../../config/config.ts'
import { createIsPeer } from './peers.ts'
import type { TlsMaterial } from '../tls/material.ts'

export interface TrustedProxyTls {
  /** By the address of the TCP connection, whatever a PROXY header says. */
  isOne(socket: Socket): boolean
  /** Starts TLS. */
  accept(socket: Socket): void
  setMaterial(material: TlsMaterial): void
}

export interface TrustedProxyTlsOptions {
  readonly config: ForwardedByConfig
  readonly material: TlsMaterial
  /** What all connections have in common. */
  readonly common: Pick<TlsOptions, 'ALPNProtocols' | 'handshakeTimeout'>
  readonly onSecure: (socket: TLSSocket) => void
  readonly onFailed: (error: Error, socket: TLSSocket) => void
}

/**
 * A server of its own, which never listens: with both authorities in one list, a terminator's authority could
 * vouch for a name of KMS, and the public one of KMS for a name of the terminator.
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
