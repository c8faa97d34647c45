/** A client of the mTLS port that talks at once, and counts every byte that comes back. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { connect, type ConnectionOptions } from 'node:tls'

export interface Files {
  readonly certificateFile: string
  readonly privateKeyFile: string
}

export interface Attempt {
  /** All application data that the server sent. */
  readonly received: string
  /** Whether the server took up the session that was offered. */
  readonly reused: boolean
  /** The newest session that the server handed out. */
  readonly session: Buffer | undefined
  /** How the connection broke, if it did. */
  readonly failure: string | undefined
}

export function show(files: Files): ConnectionOptions {
  return { cert: readFileSync(files.certificateFile), key: readFileSync(files.privateKeyFile) }
}

/**
 * Sends `bytes` together with the end of the handshake and listens until the server closes.
 * The request in `bytes` should ask for that (`connection: close`). @throws after ten seconds
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
    // Not after `secureConnect`: it leaves with the last bytes of the handshake.
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
