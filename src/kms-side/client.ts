/** The other side of the wire: calls an XKS proxy as AWS KMS does, signed, over TLS, kept alive. */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import https from 'node:https'
import aws4 from 'aws4'
import type { Secret } from '../base/secret.ts'
import { systemClock } from '../base/clock.ts'

export interface KmsSideClientOptions {
  /** `https://host:port` */
  readonly endpoint: string
  /** XksProxyUriPath, such as `/demo/kms/xks/v1` */
  readonly uriPath: string
  readonly accessKeyId: string
  readonly secretAccessKey: Secret
  readonly region: string
  /** PEM bundle to trust instead of the system's. */
  readonly caFile?: string
  /** PEM files to show when the proxy asks for mTLS. */
  readonly clientCertificate?: {
    readonly certificateFile: string
    readonly privateKeyFile: string
  }
  /** Milliseconds until a call is given up; KMS takes 250. */
  readonly timeoutMs?: number
}

export interface KmsSideResponse {
  readonly status: number
  /** Parsed JSON; undefined when the answer was none. */
  readonly body: unknown
  /** From the first byte sent to the last received. */
  readonly totalMs: number
}

export interface EncryptArguments {
  readonly plaintext: Buffer
  readonly aad?: Buffer
  /** Ask for a CDIV, as KMS does for data keys. */
  readonly cdiv?: boolean
}

export interface DecryptArguments {
  readonly ciphertext: Buffer
  readonly initializationVector: Buffer
  readonly authenticationTag: Buffer
  readonly ciphertextMetadata?: Buffer
  readonly aad?: Buffer
}

export interface KmsSideClient {
  getKeyMetadata(keyId: string): Promise<KmsSideResponse>
  encrypt(keyId: string, input: EncryptArguments): Promise<KmsSideResponse>
  decrypt(keyId: string, input: DecryptArguments): Promise<KmsSideResponse>
  getHealthStatus(): Promise<KmsSideResponse>
  /** Any path below the URI path, any body: for tests and diagnosis. */
  post(path: string, body: string): Promise<KmsSideResponse>
  close(): Promise<void>
}

const DEFAULT_TIMEOUT_MS = 5000

/** requestMetadata as KMS fills it in for a principal of the example account. */
function metadataFor(kmsOperation: string, region: string): Record<string, string> {
  return {
    awsPrincipalArn: 'arn:aws:iam::123456789012:user/Alice',
    kmsKeyArn: `arn:aws:kms:${region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab`,
    kmsOperation,
    kmsRequestId: randomUUID(),
  }
}

const base64 = (bytes: Buffer | undefined) => bytes?.toString('base64')

export function createKmsSideClient(options: KmsSideClientOptions): KmsSideClient {
  const { uriPath, region } = options
  const endpoint = new URL(options.endpoint)
  const shown = options.clientCertificate
  const agent = new https.Agent({
    keepAlive: true,
    ...(options.caFile === undefined ? {} : { ca: readFileSync(options.caFile) }),
    ...(shown === undefined
      ? {}
      : { cert: readFileSync(shown.certificateFile), key: readFileSync(shown.privateKeyFile) }),
  })

  function sign(path: string, body: string) {
    return aws4.sign(
      {
        host: endpoint.host,
        path: `${uriPath}${path}`,
        method: 'POST',
        service: 'kms-xks-proxy',
        region,
        headers: { 'Content-Type': 'application/json' },
        body,
        doNotEncodePath: true,
      },
      {
        accessKeyId: options.accessKeyId,
        secretAccessKey: options.secretAccessKey.reveal(),
      },
    )
  }

  async function post(path: string, body: string): Promise<KmsSideResponse> {
    const signed = sign(path, body)
    const startedAt = systemClock.monotonic()
    const { status, text } = await send(
      {
        agent,
        hostname: endpoint.hostname.replace(/^\[|\]$/g, ''),
        port: endpoint.port === '' ? 443 : endpoint.port,
        method: 'POST',
        path: `${uriPath}${path}`,
        headers: signed.headers,
        signal: AbortSignal.timeout(options.timeoutMs ?? DEFAULT_TIMEOUT_MS),
      },
      body,
    )
    return { status, body: parseBody(text), totalMs: systemClock.monotonic() - startedAt }
  }

  return {
    getKeyMetadata: (keyId) =>
      post(
        `/keys/${keyId}/metadata`,
        JSON.stringify({ requestMetadata: metadataFor('DescribeKey', region) }),
      ),
    encrypt: (keyId, input) =>
      post(
        `/keys/${keyId}/encrypt`,
        JSON.stringify({
          requestMetadata: metadataFor('GenerateDataKey', region),
          additionalAuthenticatedData: base64(input.aad),
          plaintext: base64(input.plaintext),
          encryptionAlgorithm: 'AES_GCM',
          ciphertextDataIntegrityValueAlgorithm: input.cdiv === true ? 'SHA_256' : undefined,
        }),
      ),
    decrypt: (keyId, input) =>
      post(
        `/keys/${keyId}/decrypt`,
        JSON.stringify({
          requestMetadata: metadataFor('Decrypt', region),
          additionalAuthenticatedData: base64(input.aad),
          encryptionAlgorithm: 'AES_GCM',
          ciphertext: base64(input.ciphertext),
          ciphertextMetadata: base64(input.ciphertextMetadata),
          initializationVector: base64(input.initializationVector),
          authenticationTag: base64(input.authenticationTag),
        }),
      ),
    getHealthStatus: () =>
      post(
        '/health',
        JSON.stringify({
          requestMetadata: { kmsRequestId: randomUUID(), kmsOperation: 'KmsHealthCheck' },
        }),
      ),
    post,
    close() {
      agent.destroy()
      return Promise.resolve()
    },
  }
}

function send(
  options: https.RequestOptions,
  body: string,
): Promise<{ readonly status: number; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const request = https.request(options, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          text: Buffer.concat(chunks).toString('utf8'),
        })
      })
    })
    request.on('error', reject)
    request.end(body)
  })
}

function parseBody(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
