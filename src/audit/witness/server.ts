/** Serves a witness over HTTP: `POST /add-checkpoint` and `GET /ORIGIN_HASH/checkpoint`. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { readText } from '../../core/http-exchange.ts'
import type { Witness, WitnessAnswer } from './witness.ts'

/** Maximum body size in bytes; a checkpoint with 63 hashes and many signatures is far smaller. */
const MAX_BODY_BYTES = 64 * 1024
/** Clients that have not sent their request within this many milliseconds are disconnected. */
const REQUEST_MS = 10_000

export interface WitnessServerOptions {
  readonly witness: Witness
  /**
   * PEM data; absent if the server uses plain HTTP, which is acceptable because requests contain no
   * secrets and checkpoints are signed.
   */
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly onError: (error: unknown) => void
}

/** Returns a server that is not listening yet. */
export function createWitnessServer(options: WitnessServerOptions): http.Server | https.Server {
  const { witness, tls, onError } = options
  const listener = (request: http.IncomingMessage, response: http.ServerResponse) => {
    answer(witness, request)
      .catch((error: unknown): WitnessAnswer => {
        onError(error)
        return { status: 500, body: 'internal error\n', contentType: 'text/plain' }
      })
      .then(({ status, body, contentType }) => {
        response.writeHead(status, { 'content-type': contentType, 'cache-control': 'no-store' })
        response.end(body)
      })
      .catch(onError)
  }
  const limits = { requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, maxHeaderSize: 8192 }
  return tls === undefined
    ? http.createServer(limits, listener)
    : https.createServer({ ...limits, ...tls, minVersion: 'TLSv1.2' }, listener)
}

async function answer(witness: Witness, request: http.IncomingMessage): Promise<WitnessAnswer> {
  const { method, url = '' } = request
  if (url === '/add-checkpoint') {
    if (method !== 'POST') return { status: 405, body: 'use POST\n', contentType: 'text/plain' }
    const body = await readText(request, MAX_BODY_BYTES).catch(() => '')
    return witness.addCheckpoint(body)
  }
  const originHash = /^\/([0-9a-f]{64})\/checkpoint$/.exec(url)?.[1]
  if (method === 'GET' && originHash !== undefined) return witness.checkpoint(originHash)
  return { status: 404, body: 'not found\n', contentType: 'text/plain' }
}
