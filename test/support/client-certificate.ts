/**
 * Simulates KMS's side of mTLS: its subjects and certificates, and a client that records every byte that it receives.
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
 * Issues a client certificate for KMS in us-east-1, or for the subject in `more`. The issuer is `by` (default: the
 * trusted authority).
 */
export async function issueClient(
  name: string,
  more: Partial<CertificateRequest> = {},
  by?: Authority,
): Promise<Files> {
  return (await testPki()).issue(name, { commonName: EAST, usage: 'client', ...more }, by)
}

/** Starts a server that requires a certificate issued by `ca` with one of `subjects`. */
export async function startMtls(
  t: Test,
  subjects: readonly string[] = [EAST, WEST],
  ca?: string,
): Promise<TestServer> {
  const clientCertificate = { ca: ca ?? (await testPki()).caFile, subjects }
  return startTestServer(t, { config: { listener: { clientCertificate } } })
}

/** Returns a request that the server would answer if it read any requests from this client. */
export function healthRequest(server: TestServer): Buffer {
  const body = { requestMetadata: requestMetadata('KmsHealthCheck') }
  return signedRequest(server, '/health', body, { headers: { Connection: 'close' } })
}

export interface Files {
  readonly certificateFile: string
  readonly privateKeyFile: string
}

export interface Attempt {
  /** All application data sent by the server. */
  readonly received: string
  /** Whether the server resumed the offered session. */
  readonly reused: boolean
  /** The last session issued by the server. */
  readonly session: Buffer | undefined
  /** The error that broke the connection, if any. */
  readonly failure: string | undefined
}

export function show(files: Files): ConnectionOptions {
  return { cert: readFileSync(files.certificateFile), key: readFileSync(files.privateKeyFile) }
}

/**
 * Sends `bytes` together with the end of the handshake, and collects data until the server closes the connection. The
 * request in `bytes` should include `connection: close`.
 * @throws if the connection is idle for ten seconds
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
    // Writing before `secureConnect` sends the data together with the last handshake bytes.
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
