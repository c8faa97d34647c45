/** Calls to the proxy under examination: signed as KMS signs them, or with one thing about them wrong. */
// SPDX-License-Identifier: Apache-2.0
import { openConnection, type Connection, type WireAnswer } from '../../kms/client/connection.ts'
import { signHeaders, type SignInput, type SigningCredential } from '../../kms/client/signing.ts'
import type { Remote } from '../../terminal/flags/remote.ts'

/** Longer than KMS waits: a slow answer is still an answer to judge, and its time is judged apart. */
export const PATIENCE_MS = 5000

export interface Ask {
  /** Below the URI path, such as `/health`. */
  readonly path: string
  readonly body: string
  /** Instead of POST. */
  readonly method?: string
  /** What is signed, where that differs from what is sent. */
  readonly sign?: Partial<SignInput>
  readonly credential?: Partial<SigningCredential>
  /** The last word about what is sent. */
  readonly tamper?: (headers: Record<string, string>) => readonly (readonly [string, string])[]
}

export interface Session {
  readonly remote: Remote
  /** On a kept-alive HTTP/1.1 connection, opened anew where it was closed. @throws EndpointError */
  ask(ask: Ask): Promise<WireAnswer>
  /** On a given connection. */
  askOn(connection: Connection, ask: Ask): Promise<WireAnswer>
  /** Certificates are judged once, and then taken as they are. @throws EndpointError */
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
    // The length of what is sent, which need not be what was signed.
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
        // Closed between two calls: what KMS, too, would answer with a new connection.
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
