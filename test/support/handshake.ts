/** Performs a TLS handshake and nothing more, and returns the negotiated parameters or the error. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { connect, type ConnectionOptions } from 'node:tls'
import { promisify } from 'node:util'
import type { TestPki } from './pki.ts'

export type Handshake =
  | {
      readonly agreed: true
      readonly protocol: string
      readonly cipher: string
      readonly alpn: string | false
      readonly authorized: boolean
    }
  | {
      readonly agreed: false
      /** Error code from OpenSSL or the operating system. */
      readonly code: string
    }

/** @throws if this client does not support what `options` ask for */
export function handshake(port: number, options: ConnectionOptions): Promise<Handshake> {
  return new Promise((resolve, reject) => {
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      rejectUnauthorized: false,
      ...options,
    })
    socket.setTimeout(10_000, () => {
      socket.destroy(new Error('no handshake in time'))
    })
    socket.once('secureConnect', () => {
      resolve({
        agreed: true,
        protocol: socket.getProtocol() ?? '',
        cipher: socket.getCipher().name,
        alpn: socket.alpnProtocol ?? false,
        authorized: socket.authorized,
      })
      socket.destroy()
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === undefined) reject(error)
      else resolve({ agreed: false, code: error.code })
    })
  })
}

/**
 * Issues an ECDSA P-256 certificate, which node-forge cannot create. The certificate is self-signed or issued by `ca`.
 */
export async function issueEcCertificate(
  pki: TestPki,
  name = 'server-ec',
  subject = '/CN=localhost',
  ca?: { readonly caFile: string; readonly caKey: string },
) {
  const certificateFile = join(pki.folder, `${name}.crt`)
  const privateKeyFile = join(pki.folder, `${name}.key`)
  await promisify(execFile)('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
    ...['-sha256', '-days', '30', '-subj', subject],
    ...['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-keyout', privateKeyFile, '-out', certificateFile],
    ...(ca === undefined ? [] : ['-CA', ca.caFile, '-CAkey', ca.caKey]),
  ])
  return { certificateFile, privateKeyFile }
}
