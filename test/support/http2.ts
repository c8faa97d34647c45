/** Sends signed requests over an HTTP/2 session. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import type { ConnectionOptions } from 'node:tls'
import type { Test } from 'tap'
import type { TestServer } from './server.ts'
import { signedHeaders } from './wire.ts'

/** Opens a session that closes when the test ends. */
export async function openHttp2(
  t: Test,
  server: TestServer,
  options: ConnectionOptions = {},
): Promise<http2.ClientHttp2Session> {
  const session = http2.connect(`https://127.0.0.1:${String(server.port)}`, {
    ca: readFileSync(server.pki.caFile),
    servername: 'localhost',
    ...options,
  })
  t.teardown(() => {
    session.destroy()
  })
  await once(session, 'connect')
  return session
}

/** Returns the headers for a signed POST. HTTP/2 uses `:authority` where HTTP/1.1 uses Host. */
export function toHttp2Headers(
  server: TestServer,
  path: string,
  body: string,
): Record<string, string> {
  const headers: Record<string, string> = { ':method': 'POST', ':path': `${server.uriPath}${path}` }
  for (const [name, value] of Object.entries(signedHeaders(server, { path, body }))) {
    headers[name.toLowerCase() === 'host' ? ':authority' : name.toLowerCase()] = value
  }
  return headers
}

/** Sends a signed POST and returns the response's status. */
export async function askHttp2(
  session: http2.ClientHttp2Session,
  server: TestServer,
  path: string,
  body: string,
  /** Unsigned headers with lower-case names. */
  more: Readonly<Record<string, string>> = {},
): Promise<number> {
  const stream = session.request({ ...toHttp2Headers(server, path, body), ...more })
  stream.end(body)
  const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  stream.resume()
  await once(stream, 'end')
  return Number(answer[':status'])
}
