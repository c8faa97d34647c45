/** Sends one webhook request and interprets the response. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { exchange, type HttpAnswer } from '../../core/http-exchange.ts'
import { createHttpsAgent, type Proxy } from '../../core/proxy.ts'

export interface OutgoingRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** CA certificates to trust instead of the public ones, in PEM. */
  readonly ca: Buffer | undefined
  /** The proxy for HTTPS requests; if undefined, requests connect directly. */
  readonly proxy: Proxy | undefined
  /** Reports whether a response rejects the body itself, which makes a retry pointless. */
  readonly isFinal: (answer: HttpAnswer) => boolean
}

export type PostOutcome =
  | { readonly result: 'delivered' }
  /** If `isFinal` is true, the receiver will never accept this body. */
  | { readonly result: 'failed'; readonly reason: string; readonly isFinal: boolean }

const MAX_ANSWER_BYTES = 65_536
const MAX_REASON = 200

/** Sends a request without following redirects. Never rejects. @param signal sets the deadline */
export async function post(
  { url, headers, body, ca, proxy, isFinal }: OutgoingRequest,
  signal: AbortSignal,
): Promise<PostOutcome> {
  // Each message uses a new connection: messages are rare, and the host name may have a new
  // address.
  const [client, agent] =
    url.protocol === 'https:'
      ? [https, createHttpsAgent(proxy, ca === undefined ? {} : { ca })]
      : [http, new http.Agent()]
  try {
    const request = client.request(url, {
      method: 'POST',
      headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      ...{ agent, signal },
    })
    const { status, text } = await exchange(request, body, MAX_ANSWER_BYTES)
    if (status >= 200 && status < 300) return { result: 'delivered' }
    const said = text.replaceAll(/\s+/g, ' ').trim().slice(0, MAX_REASON)
    const reason = `the receiver responded with status ${String(status)}${said === '' ? '' : `: ${said}`}`
    return { result: 'failed', reason, isFinal: isFinal({ status, text }) }
  } catch (error) {
    return { result: 'failed', reason: describeFailure(error, signal), isFinal: false }
  } finally {
    agent.destroy()
  }
}

function describeFailure(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return 'the receiver did not respond in time'
  const { message, code } = error as NodeJS.ErrnoException
  // An error that covers several addresses has a code but no message.
  return message === '' ? (code ?? 'the connection failed') : message
}
