/** Calls the admin API over HTTPS, as one operator. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { type ErrorOptionsWithHint, LatchkeyError } from '../../core/errors.ts'
import { exchangeBytes, type RawAnswer } from '../../core/http-exchange.ts'
import type { Secret } from '../../core/secret.ts'
import type { components } from '../../openapi/types.gen.ts'

export interface AdminEndpoint {
  /** Origin of the listener, such as `https://latchkey.example.com:8444`. */
  readonly url: string
  readonly token?: Secret
  /** Certificate authorities to trust instead of the system's, in PEM. */
  readonly ca?: string
  /** The client certificate and its key, in PEM. */
  readonly clientCertificate?: { readonly certificate: string; readonly privateKey: string }
}

type Schemas = components['schemas']
type Faults = Schemas['AdminErrorResponse']['error']['faults']

/**
 * Refusal by the listener, with the code that the command reports when it works directly on the
 * control store.
 */
export class AdminRefusal extends LatchkeyError {
  override readonly name = 'AdminRefusal'
  readonly file = ''
  /** All errors found in a rejected document. */
  readonly faults: Faults

  constructor(code: string, message: string, options: ErrorOptionsWithHint, faults?: Faults) {
    super(code, message, options)
    this.faults = faults
  }
}

type AdminCallErrorCode =
  | 'ADMIN_UNREACHABLE' // no connection, an invalid certificate, or a timeout
  | 'ADMIN_ANSWER_INVALID' // the response does not come from an admin listener

export class AdminCallError extends LatchkeyError<AdminCallErrorCode> {
  override readonly name = 'AdminCallError'
}

export interface AdminHttp {
  get(path: string): Promise<unknown>
  /** Returns a file; undefined if there is none. */
  getBytes(path: string): Promise<Buffer | undefined>
  /** @param timeoutMs timeout for the complete response (default: 30 s) */
  post(path: string, body: object, timeoutMs?: number): Promise<unknown>
  close(): void
}

const TIMEOUT_MS = 30_000

/** @throws AdminRefusal, AdminCallError from each call */
export function createAdminHttp(endpoint: AdminEndpoint): AdminHttp {
  const { ca, clientCertificate, token } = endpoint
  const isTls = endpoint.url.startsWith('https:')
  const agent = isTls
    ? new https.Agent({
        keepAlive: true,
        ...(ca === undefined ? {} : { ca }),
        ...(clientCertificate && {
          cert: clientCertificate.certificate,
          key: clientCertificate.privateKey,
        }),
      })
    : new http.Agent({ keepAlive: true })

  async function call(
    method: 'GET' | 'POST',
    path: string,
    { text, timeoutMs = TIMEOUT_MS }: { readonly text?: string; readonly timeoutMs?: number },
  ): Promise<RawAnswer> {
    const options = {
      ...{ method, agent, signal: AbortSignal.timeout(timeoutMs) },
      headers: {
        ...(method === 'POST' && { 'content-type': 'application/json' }),
        ...(token && { authorization: `Bearer ${token.reveal()}` }),
      },
    }
    const { request } = isTls ? https : http
    return exchangeBytes(request(new URL(path, endpoint.url), options), text).catch(
      (cause: unknown) => {
        throw toCallError(endpoint.url, cause)
      },
    )
  }

  return {
    get: async (path) => readAnswer(endpoint.url, await call('GET', path, {})),
    async getBytes(path) {
      const answer = await call('GET', path, {})
      if (answer.status === 200) return answer.bytes
      if (answer.status !== 404) readAnswer(endpoint.url, answer)
      return undefined
    },
    async post(path, body, timeoutMs) {
      const answer = await call('POST', path, {
        text: JSON.stringify(body),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
      })
      return readAnswer(endpoint.url, answer)
    },
    close: () => {
      agent.destroy()
    },
  }
}

function readAnswer(url: string, { status, bytes }: RawAnswer): unknown {
  const value = parseJson(bytes.toString('utf8'))
  if (status === 200 && typeof value === 'object' && value !== null) return value
  const { error } = (value ?? {}) as Partial<Schemas['AdminErrorResponse']>
  if (typeof error?.code !== 'string' || typeof error.message !== 'string') {
    throw new AdminCallError(
      'ADMIN_ANSWER_INVALID',
      `expected an admin listener at ${url}, found a response with status ${String(status)} in an unknown format`,
      { hint: 'use the port in the admin section of latchkey.yaml' },
    )
  }
  const { code, reason = code, message, hint, faults } = error
  throw new AdminRefusal(reason, message, hint === undefined ? {} : { hint }, faults)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function toCallError(url: string, cause: unknown): AdminCallError {
  const { name, code, message } = cause as { name?: string; code?: string; message?: string }
  const isLate = name === 'AbortError' || name === 'TimeoutError'
  const what = isLate ? 'no response in time' : (code ?? message ?? 'unknown error')
  return new AdminCallError('ADMIN_UNREACHABLE', `cannot reach ${url}: ${what}`, {
    cause,
    hint: 'check the address and the trusted certificate authorities, or try another instance',
  })
}
