/**
 * Calls the proxy under examination with requests that are signed as KMS signs them, or that have
 * one deliberate error.
 */
// SPDX-License-Identifier: Apache-2.0
import { openConnection, type Connection, type WireAnswer } from '../../kms/client/connection.ts'
import { signHeaders, type SignInput, type SigningCredential } from '../../kms/client/signing.ts'
import type { Remote } from '../../terminal/flags/remote.ts'

/**
 * Response timeout in milliseconds. It is longer than KMS's timeout, so that slow responses can be
 * examined too. Latency is checked separately.
 */
export const PATIENCE_MS = 5000

export interface Ask {
  /** Path below the URI path, such as `/health`. */
  readonly path: string
  readonly body: string
  /** HTTP method (default: POST). */
  readonly method?: string
  /** Values to sign instead of the values that are sent. */
  readonly sign?: Partial<SignInput>
  readonly credential?: Partial<SigningCredential>
  /** Changes the signed request before it is sent. */
  readonly tamper?: (headers: Record<string, string>) => readonly (readonly [string, string])[]
}

export interface Session {
  readonly remote: Remote
  /**
   * Calls the proxy over a persistent HTTP/1.1 connection, and reconnects if the proxy has closed
   * it.
   * @throws EndpointError
   */
  ask(ask: Ask): Promise<WireAnswer>
  /** Calls the proxy over the given connection. */
  askOn(connection: Connection, ask: Ask): Promise<WireAnswer>
  /**
   * Connects without verifying the certificate, which is checked separately.
   * @throws EndpointError
   */
  connect(alpn?: readonly string[]): Promise<Connection>
  close(): void
}

export function createSession(remote: Remote): Session {
  let shared: Connection | undefined
  const open = new Set<Connection>()
  const connect = async (alpn: readonly string[] = ['http/1.1']) => {
    const connection = await openConnection(remote.endpoint, {
      timeoutMs: PATIENCE_MS,
      alpn,
      verify: false,
    })
    open.add(connection)
    return connection
  }
  const askOn = (connection: Connection, ask: Ask) => {
    const target = `${remote.uriPath}${ask.path}`
    const headers = signHeaders(
      {
        host: remote.hostHeader,
        target,
        body: ask.body,
        ...(ask.method === undefined ? {} : { method: ask.method }),
        ...ask.sign,
      },
      { ...remote.credential, ...ask.credential },
    )
    // The header has the length of the body that is sent, which may differ from the length of the
    // signed body.
    const sent = { ...headers, 'Content-Length': String(Buffer.byteLength(ask.body)) }
    return connection.exchange(
      {
        target,
        headers: ask.tamper?.(sent) ?? sent,
        body: ask.body,
        ...(ask.method === undefined ? {} : { method: ask.method }),
      },
      PATIENCE_MS,
    )
  }
  return {
    remote,
    connect,
    askOn,
    async ask(ask) {
      const reused = shared?.isOpen() === true
      if (shared === undefined || !reused) shared = await connect()
      try {
        return await askOn(shared, ask)
      } catch (error) {
        // An error on a reused connection means that the proxy closed it between two calls. KMS
        // would reconnect as well.
        if (!reused) throw error
        shared = await connect()
        return askOn(shared, ask)
      }
    },
    close() {
      for (const connection of open) connection.close()
    },
  }
}
