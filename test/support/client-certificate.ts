/**
 * mTLS as KMS uses it: its subjects, its certificates, and a client that counts every byte that it
 * receives.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { connect, type ConnectionOptions } from 'node:tls'
import type { Test } from 'tap'
import type { Authority, CertificateRequest } from '../../certs/dev-pki.ts'
import { testPki } from './pki.ts'
import { startTestServer, type TestServer } from './server.ts'
import { requestMetadata, signedRequest } from './wire.ts'

export const EAST = 'cks.kms.us-east-1.amazonaws.com'
export const WEST = 'cks.kms.us-west-2.amazonaws.com'

export const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const
export type TlsVersion = (typeof VERSIONS)[number]
export const only = (version: TlsVersion) => ({ minVersion: version, maxVersion: version })

/**
 * Issues a certificate for KMS in us-east-1 unless `more` says otherwise, from the trusted
 * authority or from `by`.
 */
export async function issueClient(
  name: string,
  more: Partial<CertificateRequest> = {},
  by?: Authority,
): Promise<Files> {
  return (await testPki()).issue(name, { commonName: EAST, usage: 'client', ...more }, by)
}

/** Starts a server that requires one of `subjects`, issued by `ca`. */
export async function startMtls(
  t: Test,
  subjects: readonly string[] = [EAST, WEST],
  ca?: string,
): Promise<TestServer> {
  const clientCertificate = { ca: ca ?? (await testPki()).caFile, subjects }
  return startTestServer(t, { config: { listener: { clientCertificate } } })
}

/** Returns a request that would be answered if it were read. */
export function healthRequest(server: TestServer): Buffer {
  const body = { requestMetadata: requestMetadata('KmsHealthCheck') }
  return signedRequest(server, '/health', body, { headers: { Connection: 'close' } })
}

export interface Files {
  readonly certificateFile: string
  readonly privateKeyFile: string
}

export interface Attempt {
  /** All application data that the server sent. */
  readonly received: string
  /** Whether the server resumed the session that was offered. */
  readonly reused: boolean
  /** The newest session that the server issued. */
  readonly session: Buffer | undefined
  /** How the connection broke, if it did. */
  readonly failure: string | undefined
}

export function show(files: Files): ConnectionOptions {
  return { cert: readFileSync(files.certificateFile), key: readFileSync(files.privateKeyFile) }
}

/**
 * Sends `bytes` together with the end of the handshake and listens until the server closes. The
 * request in `bytes` should ask for that (`connection: close`).
 * @throws after ten seconds
 */
export function attempt(
  port: number,
  bytes: Buffer | string,
  options: ConnectionOptions,
): Promise<Attempt> {
  return new Promise((resolve, reject) => {
    let received = ''
    let session: Buffer | undefined
    let reused = false
    let failure: string | undefined
    const socket = connect({
      port,
      host: '127.0.0.1',
      servername: 'localhost',
      rejectUnauthorized: false,
      ...options,
    })
    socket.setEncoding('latin1')
    // Written before `secureConnect`, so that it leaves with the last bytes of the handshake.
    socket.write(bytes)
    socket.setTimeout(10_000, () => {
      reject(new Error(`still open after ${JSON.stringify(received)}`))
      socket.destroy()
    })
    socket.on('secureConnect', () => {
      reused = socket.isSessionReused()
    })
    socket.on('session', (offered: Buffer) => {
      session = offered
    })
    socket.on('data', (text: string) => {
      received += text
    })
    socket.on('error', (error: Error) => {
      failure ??= error.message
    })
    socket.on('close', () => {
      resolve({ received, reused, session, failure })
    })
  })
}
