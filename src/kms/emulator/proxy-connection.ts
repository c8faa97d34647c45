/** One proxy as KMS calls it: signed, given up after 250 ms, tried once more when the network was slow. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import {
  createKmsSideClient,
  type KmsSideClientOptions,
  type KmsSideResponse,
} from '../client/client.ts'
import { parseXksErrorName, ProxyFailure, type ProxyFailureKind } from './proxy-failure.ts'

export interface ProxyConnection {
  /** The parsed body of an answer with status 200. @throws ProxyFailure */
  call(path: string, body: string): Promise<unknown>
  close(): Promise<void>
}

export interface CallReport {
  readonly path: string
  /** Milliseconds of all attempts together. */
  readonly totalMs: number
  /** 2 after a network time-out. */
  readonly attempts: number
  /** Absent when it went well. */
  readonly failure?: ProxyFailureKind
}

/** XKS 1.0.3, KMS Considerations of each operation. */
export const KMS_TIMEOUT_MS = 250
/** KMS repeats a call once after a network time-out, so that its own metric shows up to 500 ms. */
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
        const failure = new ProxyFailure(kind, `the proxy was not reached: ${reasonOf(cause)}`, {
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
  // XKS 1.0.3, Error codes: without a JSON body that has an errorName, the answer is malformed.
  if (status === 200 || known === undefined) {
    return new ProxyFailure(
      'MALFORMED',
      `an answer with status ${String(status)}, of no known form`,
    )
  }
  return new ProxyFailure(known, typeof errorMessage === 'string' ? errorMessage : known)
}

/** A code of Node or OpenSSL where there is one. */
function reasonOf(error: unknown): string {
  const { name, code } = error as { name?: string; code?: string }
  return name === 'AbortError' ? 'no answer in time' : (code ?? name ?? 'unknown')
}

const NO_CONNECTION = new Set([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'],
  ...['ECONNRESET', 'EPIPE', 'EADDRNOTAVAIL'],
])

/** From what Node reports; whatever is neither a time-out nor of TCP happened in the handshake. */
function classify(error: unknown): ProxyFailureKind {
  const { name, code, message } = error as { name?: string; code?: string; message?: string }
  if (name === 'AbortError' || name === 'TimeoutError' || code === 'ETIMEDOUT') return 'TIMEOUT'
  if (message?.includes('before secure TLS connection') === true) return 'TLS'
  return NO_CONNECTION.has(code ?? '') ? 'TCP' : 'TLS'
}
