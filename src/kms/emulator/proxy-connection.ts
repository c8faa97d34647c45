/**
 * Calls a proxy as KMS does: with a signed request, a 250 ms timeout, and one retry after a network
 * timeout.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import {
  createKmsSideClient,
  type KmsSideClientOptions,
  type KmsSideResponse,
} from '../client/client.ts'
import { parseXksErrorName, ProxyFailure, type ProxyFailureKind } from './proxy-failure.ts'

export interface ProxyConnection {
  /** Returns the parsed body of a 200 response. @throws ProxyFailure */
  call(path: string, body: string): Promise<unknown>
  close(): Promise<void>
}

export interface CallReport {
  readonly path: string
  /** Total time for all attempts, in milliseconds. */
  readonly totalMs: number
  /** Number of attempts: 2 after a network timeout, otherwise 1. */
  readonly attempts: number
  /** Absent when the call succeeded. */
  readonly failure?: ProxyFailureKind
}

/** Timeout in milliseconds (XKS 1.0.3, KMS Considerations of each operation). */
export const KMS_TIMEOUT_MS = 250
/** KMS retries once after a network timeout, so its own latency metric can show up to 500 ms. */
const ATTEMPTS = 2

export function createProxyConnection(
  options: KmsSideClientOptions,
  onCall: (report: CallReport) => void = () => undefined,
): ProxyConnection {
  const client = createKmsSideClient({ ...options, timeoutMs: options.timeoutMs ?? KMS_TIMEOUT_MS })

  async function request(path: string, text: string) {
    for (let attempts = 1; ; attempts++) {
      try {
        const response = await client.post(path, text)
        return { attempts, answer: response.body, failure: readFailure(response) }
      } catch (cause) {
        const kind = classify(cause)
        if (kind === 'TIMEOUT' && attempts < ATTEMPTS) continue
        const failure = new ProxyFailure(kind, `cannot reach the proxy: ${reasonOf(cause)}`, {
          cause,
        })
        return { attempts, answer: undefined, failure }
      }
    }
  }

  return {
    async call(path, body) {
      const startedAt = systemClock.monotonic()
      const { attempts, answer, failure } = await request(path, body)
      const totalMs = systemClock.monotonic() - startedAt
      const report = { path, totalMs, attempts }
      onCall(failure === undefined ? report : { ...report, failure: failure.code })
      if (failure !== undefined) throw failure
      return answer
    },
    close: () => client.close(),
  }
}

function readFailure({ status, body }: KmsSideResponse): ProxyFailure | undefined {
  if (status === 200 && typeof body === 'object' && body !== null) return undefined
  const { errorName, errorMessage } = (body ?? {}) as Record<string, unknown>
  const known = parseXksErrorName(errorName)
  // An error is malformed unless its body is JSON with an errorName (XKS 1.0.3, Error codes).
  if (status === 200 || known === undefined) {
    return new ProxyFailure(
      'MALFORMED',
      `received a response with status ${String(status)} in an unknown format`,
    )
  }
  return new ProxyFailure(known, typeof errorMessage === 'string' ? errorMessage : known)
}

/** Returns the error code that Node or OpenSSL set, if any. */
function reasonOf(error: unknown): string {
  const { name, code } = error as { name?: string; code?: string }
  return name === 'AbortError' ? 'no response in time' : (code ?? name ?? 'unknown')
}

const NO_CONNECTION = new Set([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'],
  ...['ECONNRESET', 'EPIPE', 'EADDRNOTAVAIL'],
])

/** Classifies an error that Node reports. An error that is neither a timeout nor a TCP error came from the TLS handshake. */
function classify(error: unknown): ProxyFailureKind {
  const { name, code, message } = error as { name?: string; code?: string; message?: string }
  if (name === 'AbortError' || name === 'TimeoutError' || code === 'ETIMEDOUT') return 'TIMEOUT'
  if (message?.includes('before secure TLS connection') === true) return 'TLS'
  return NO_CONNECTION.has(code ?? '') ? 'TCP' : 'TLS'
}
