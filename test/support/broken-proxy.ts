/** A faulty XKS proxy that forwards requests to the real server and alters what passes through. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import type { Test } from 'tap'
import { createSession, type Session } from '../../src/tools/doctor/session.ts'
import { signHeaders } from '../../src/kms/client/signing.ts'
import { KEY_ID, REGION, type TestServer } from './server.ts'

export interface PassingAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

export interface Faults {
  readonly files?: { readonly certificateFile: string; readonly privateKeyFile: string }
  readonly tls?: TlsOptions
  /** Whether to sign each request again, so that the real server accepts every request. */
  readonly signsAnew?: boolean
  /** Modifies a response in place. */
  readonly spoil?: (answer: PassingAnswer, request: { target: string; body: string }) => void
  readonly delayMs?: number
  /** Whether to delay only the first response on each connection. */
  readonly delaysFirst?: boolean
  /** Idle time after which connections are closed, in milliseconds. */
  readonly keepAliveMs?: number
}

export interface BrokenProxy {
  readonly port: number
  /** Returns a doctor session that uses a credential and key of the real server. */
  session(): Session
}

export async function startBrokenProxy(
  t: Test,
  server: TestServer,
  faults: Faults = {},
): Promise<BrokenProxy> {
  const files = faults.files ?? server.pki
  const agent = new https.Agent({ keepAlive: true, ca: readFileSync(server.pki.caFile) })
  const seen = new WeakSet<Socket>()
  const proxy = https.createServer(
    {
      cert: readFileSync(files.certificateFile),
      key: readFileSync(files.privateKeyFile),
      ...faults.tls,
    },
    (request, response) => {
      void (async () => {
        const chunks: Buffer[] = []
        for await (const chunk of request) chunks.push(chunk as Buffer)
        const body = Buffer.concat(chunks).toString('utf8')
        const target = request.url ?? ''
        const headers =
          faults.signsAnew === true
            ? signed(server, target, request.method ?? '', body)
            : request.rawHeaders
        const answer = await pass(agent, server.port, request.method ?? '', target, headers, body)
        faults.spoil?.(answer, { target, body })
        const isFirst = !seen.has(request.socket)
        seen.add(request.socket)
        if (faults.delayMs !== undefined && (isFirst || faults.delaysFirst !== true)) {
          await new Promise((resolve) => setTimeout(resolve, faults.delayMs))
        }
        response.sendDate = false
        response.writeHead(answer.status, {
          ...answer.headers,
          'content-length': String(Buffer.byteLength(answer.body)),
        })
        response.end(answer.body)
      })().catch((error: unknown) => {
        response.destroy(error instanceof Error ? error : undefined)
      })
    },
  )
  proxy.keepAliveTimeout = faults.keepAliveMs ?? 400_000
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const { port } = proxy.address() as AddressInfo
  const sessions: Session[] = []
  t.teardown(() => {
    for (const session of sessions) session.close()
    agent.destroy()
    proxy.close()
    proxy.closeAllConnections()
  })
  return {
    port,
    session() {
      const session = sessionFor(server, port)
      sessions.push(session)
      return session
    },
  }
}

/** Returns a doctor session for the server that is listening on `port`. */
export function sessionFor(
  server: TestServer,
  port: number,
  over: { readonly host?: string; readonly uriPath?: string } = {},
): Session {
  const host = over.host ?? 'localhost'
  return createSession({
    endpoint: { host, port, ca: readFileSync(server.pki.caFile, 'utf8') },
    hostHeader: `${host}:${String(port)}`,
    uriPath: over.uriPath ?? server.uriPath,
    keyId: KEY_ID,
    credential: { ...server.credential, region: REGION },
  })
}

function signed(server: TestServer, target: string, method: string, body: string) {
  const host = `localhost:${String(server.port)}`
  return signHeaders({ host, target, method, body }, { ...server.credential, region: REGION })
}

async function pass(
  agent: https.Agent,
  port: number,
  method: string,
  path: string,
  headers: readonly string[] | Record<string, string>,
  body: string,
): Promise<PassingAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = https.request(
      { agent, host: 'localhost', port, method, path, headers: headers as Record<string, string> },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () => {
          resolve({
            status: incoming.statusCode ?? 0,
            headers: {
              'content-type': incoming.headers['content-type'] ?? '',
              date: incoming.headers.date ?? '',
            },
            body: Buffer.concat(chunks).toString('utf8'),
          })
        })
      },
    )
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}
