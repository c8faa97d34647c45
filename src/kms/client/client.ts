/**
 * A client that calls an XKS proxy as AWS KMS does: with signed requests, over TLS, on persistent
 * connections.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import https from 'node:https'
import type { Secret } from '../../core/secret.ts'
import { exchange } from '../../core/http-exchange.ts'
import { systemClock } from '../../core/clock.ts'
import { parseJson } from './connection.ts'
import {
  decryptBody,
  encryptBody,
  getHealthStatusBody,
  getKeyMetadataBody,
  probeHealthBody,
  probeMetadata,
  requestMetadata,
  type DecryptArguments,
  type EncryptArguments,
} from './requests.ts'
import { signHeaders } from './signing.ts'

export interface KmsSideClientOptions {
  /** `https://host:port`. The host is signed, and the certificate must name it. */
  readonly endpoint: string
  /**
   * Address to connect to instead of the endpoint's address, for use before DNS is set up or when
   * the load balancer uses another port.
   */
  readonly connectTo?: { readonly host: string; readonly port: number }
  /** XksProxyUriPath, such as `/demo/kms/xks/v1` */
  readonly uriPath: string
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
  readonly region: string
  /** PEM bundle to trust instead of the system's bundle. */
  readonly caFile?: string
  /** PEM files of the client certificate, for a proxy that requires mTLS. */
  readonly clientCertificate?: {
    readonly certificateFile: string
    readonly privateKeyFile: string
  }
  /** Timeout of a call in milliseconds (KMS uses 250). */
  readonly timeoutMs?: number
  /** Whether to mark every request as sent by one of Latchkey's own tools (core/probe.ts). */
  readonly isProbe?: boolean
  /** Local address to connect from (default: chosen by the system). */
  readonly localAddress?: string
}

export interface KmsSideResponse {
  readonly status: number
  /** The parsed JSON body; undefined when the body is not JSON. */
  readonly body: unknown
  /** Milliseconds from the first byte sent to the last byte received. */
  readonly totalMs: number
}

export interface KmsSideClient {
  getKeyMetadata(keyId: string): Promise<KmsSideResponse>
  encrypt(keyId: string, input: EncryptArguments): Promise<KmsSideResponse>
  decrypt(keyId: string, input: DecryptArguments): Promise<KmsSideResponse>
  getHealthStatus(): Promise<KmsSideResponse>
  /** Calls any path below the URI path with any body, for tests and diagnosis. */
  post(path: string, body: string): Promise<KmsSideResponse>
  close(): Promise<void>
}

const DEFAULT_TIMEOUT_MS = 5000

export function createKmsSideClient(options: KmsSideClientOptions): KmsSideClient {
  const { uriPath, region } = options
  const isProbe = options.isProbe === true
  const metadataOf = (kmsOperation: string) =>
    (isProbe ? probeMetadata : requestMetadata)(kmsOperation, region)
  const endpoint = new URL(options.endpoint)
  const shown = options.clientCertificate
  const agent = new https.Agent({
    keepAlive: true,
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    ...(options.caFile === undefined ? {} : { ca: readFileSync(options.caFile) }),
    ...(shown === undefined
      ? {}
      : { cert: readFileSync(shown.certificateFile), key: readFileSync(shown.privateKeyFile) }),
  })

  async function post(path: string, body: string): Promise<KmsSideResponse> {
    const target = `${uriPath}${path}`
    const headers = signHeaders({ host: endpoint.host, target, body }, options)
    const startedAt = systemClock.monotonic()
    const { status, text } = await exchange(
      https.request({
        agent,
        ...toAddress(endpoint, options.connectTo),
        method: 'POST',
        path: target,
        headers,
        signal: AbortSignal.timeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS),
      }),
      body,
    )
    return { status, body: parseJson(text), totalMs: systemClock.monotonic() - startedAt }
  }

  return {
    getKeyMetadata: (keyId) =>
      post(`/keys/${keyId}/metadata`, getKeyMetadataBody(metadataOf('DescribeKey'))),
    encrypt: (keyId, input) =>
      post(`/keys/${keyId}/encrypt`, encryptBody(metadataOf('GenerateDataKey'), input)),
    decrypt: (keyId, input) =>
      post(`/keys/${keyId}/decrypt`, decryptBody(metadataOf('Decrypt'), input)),
    getHealthStatus: () => post('/health', isProbe ? probeHealthBody() : getHealthStatusBody()),
    post,
    close() {
      agent.destroy()
      return Promise.resolve()
    },
  }
}

/** SNI and the verified name always come from the endpoint. SNI is omitted for an IP address. */
function toAddress(endpoint: URL, connectTo: KmsSideClientOptions['connectTo']) {
  const host = endpoint.hostname.replace(/^\[|\]$/g, '')
  const port = endpoint.port === '' ? 443 : endpoint.port
  if (connectTo === undefined) return { hostname: host, port }
  return { hostname: connectTo.host, port: connectTo.port, servername: host }
}
