/** Sends a body in an HTTP request and reads the whole response, up to a size limit. */
// SPDX-License-Identifier: Apache-2.0
import type { ClientRequest } from 'node:http'

export interface HttpAnswer {
  readonly status: number
  readonly text: string
}

/**
 * Large enough for the exposure and events of a large fleet. Only a peer that is not Latchkey sends
 * more.
 */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024

/**
 * The caller sets the deadline through the request's `signal`.
 * @param maxBytes size limit of the response body
 * @throws the connection's or signal's error, or an Error for a body over the limit
 */
export async function exchange(
  request: ClientRequest,
  body: string | undefined,
  maxBytes = MAX_ANSWER_BYTES,
): Promise<HttpAnswer> {
  const { status, bytes } = await exchangeBytes(request, body, maxBytes)
  return { status, text: bytes.toString('utf8') }
}

export interface RawAnswer {
  readonly status: number
  readonly bytes: Buffer
}

/** Like `exchange`, for binary bodies. */
export function exchangeBytes(
  request: ClientRequest,
  body: string | undefined,
  maxBytes = MAX_ANSWER_BYTES,
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    request.on('error', reject)
    request.on('response', (response) => {
      readBytes(response, maxBytes).then((bytes) => {
        resolve({ status: response.statusCode ?? 0, bytes })
      }, reject)
    })
    request.end(body)
  })
}

/**
 * Reads a body as UTF-8, and destroys its stream when the limit is exceeded.
 * @throws the stream's error, or an Error for a body over the limit
 */
export async function readText(
  stream: AsyncIterable<unknown>,
  maxBytes = MAX_ANSWER_BYTES,
): Promise<string> {
  return (await readBytes(stream, maxBytes)).toString('utf8')
}

async function readBytes(stream: AsyncIterable<unknown>, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    chunks.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes > maxBytes)
      throw new Error(
        `expected a response of at most ${String(maxBytes)} bytes, found a longer one`,
      )
  }
  return Buffer.concat(chunks)
}
