/** Starts a server with an admin listener, and sends requests to it. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { Test } from 'tap'
import { ROLES } from '../../src/core/role.ts'
import { testPki } from './pki.ts'
import { KILLED, startTestServer, type TestServer } from './server.ts'

type Json = Record<string, unknown>

export const pki = await testPki()
export { ROLES }
export const token = (role: string) => `latchkey_token_of_the_${role}`
export const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

export interface Call {
  readonly token?: string
  readonly certificate?: { readonly certificateFile: string; readonly privateKeyFile: string }
  readonly body?: unknown
  /** Headers that replace or extend the default headers of a POST. */
  readonly headers?: Readonly<Record<string, string>>
  /** Raw text to send instead of `body`. */
  readonly text?: string
}

export interface Reply {
  readonly status: number
  readonly body: Json
  readonly headers: Record<string, unknown>
}

/** Starts a server with three tokens, and with client certificates for alice and bob. */
export async function startWithAdmin(
  t: Test,
  config: Json = {},
  admin: Json = {},
): Promise<TestServer> {
  return startTestServer(t, {
    config: {
      ...config,
      control: { ...KILLED, ...(config['control'] as Json | undefined) },
      admin: {
        port: 0,
        tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
        clientCertificates: {
          ca: pki.caFile,
          subjects: [
            { commonName: 'alice', role: 'admin' },
            { commonName: 'bob', role: 'viewer' },
          ],
        },
        tokens: ROLES.map((role) => ({ name: `${role}-token`, role, sha256: sha256(token(role)) })),
        ...admin,
      },
    },
  })
}

export function call(
  server: TestServer,
  method: string,
  path: string,
  options: Call = {},
): Promise<Reply> {
  const port = server.running.admin?.port
  const shown = options.certificate
  return new Promise((resolve, reject) => {
    const request = https.request(
      {
        host: '127.0.0.1',
        ...{ port, method, path, servername: 'localhost', agent: false },
        ca: readFileSync(pki.caFile),
        ...(shown && {
          cert: readFileSync(shown.certificateFile),
          key: readFileSync(shown.privateKeyFile),
        }),
        headers: {
          ...(method === 'POST' && { 'content-type': 'application/json' }),
          ...(options.token !== undefined && { authorization: `Bearer ${options.token}` }),
          ...options.headers,
        },
      },
      (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () => {
          const { statusCode: status = 0, headers } = response
          const isJson = headers['content-type']?.startsWith('application/json') === true
          resolve({ status, headers, body: (isJson ? JSON.parse(text) : { text }) as Json })
        })
      },
    )
    request.on('error', reject)
    const json = options.body === undefined ? undefined : JSON.stringify(options.body)
    request.end(options.text ?? json)
  })
}

export const codeOf = ({ body }: Reply) => (body['error'] as Json | undefined)?.['code']
