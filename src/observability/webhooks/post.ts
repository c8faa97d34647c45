/** Sends one request of a webhook, and interprets the answer. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { exchange, type HttpAnswer } from '../../core/http-exchange.ts'

export interface OutgoingRequest {
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Authorities to trust instead of the public ones, in PEM. */
  readonly ca: Buffer | undefined
  /** Reports whether an answer blames the body, so that another attempt is pointless. */
  readonly isFinal: (answer: HttpAnswer) => boolean
}

export type PostOutcome =
  | { readonly result: 'delivered' }
  /** With `isFinal`, the receiver will never accept this body. */
  | { readonly result: 'failed'; readonly reason: string; readonly isFinal: boolean }

const MAX_ANSWER_BYTES = 65_536
const MAX_REASON = 200

/** Follows no redirect. Never rejects. @param signal sets the deadline */
export async function post(
  { url, headers, body, ca, isFinal }: OutgoingRequest,
  signal: AbortSignal,
): Promise<PostOutcome> {
  const client = url.protocol === 'https:' ? https : http
  try {
    const request = client.request(url, {
      method: 'POST',
      headers: { ...headers, 'content-length': Buffer.byteLength(body) },
      // Each message uses a new connection: messages are rare, and the name may have a new address.
      agent: false,
      signal,
      ...(ca === undefined ? {} : { ca }),
    })
    const { status, text } = await exchange(request, body, MAX_ANSWER_BYTES)
    if (status >= 200 && status < 300) return { result: 'delivered' }
    const said = text.replaceAll(/\s+/g, ' ').trim().slice(0, MAX_REASON)
    const reason = `the receiver answered ${String(status)}${said === '' ? '' : `: ${said}`}`
    return { result: 'failed', reason, isFinal: isFinal({ status, text }) }
  } catch (error) {
    return { result: 'failed', reason: describeFailure(error, signal), isFinal: false }
  }
}

function describeFailure(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return 'the receiver did not answer in time'
  const { message, code } = error as NodeJS.ErrnoException
  // An error that covers several addresses has only a code.
  return message === '' ? (code ?? 'the connection failed') : message
}
