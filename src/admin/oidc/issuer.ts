/** Calls an identity provider over HTTPS: its metadata, its keys and its token endpoint. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { LatchkeyError } from '../../core/errors.ts'
import { type HttpAnswer, exchange } from '../../core/http-exchange.ts'

const TIMEOUT_MS = 10_000
const MAX_ANSWER_BYTES = 1024 * 1024

type LoginErrorCode =
  | 'ISSUER_UNREACHABLE' // the identity provider does not answer, or not as OpenID Connect requires
  | 'LOGIN_REFUSED' // the identity provider refused the login, or it was not confirmed in time

export class LoginError extends LatchkeyError<LoginErrorCode> {
  override readonly name = 'LoginError'
}

/** Fields of the provider metadata (OpenID Connect Discovery 1.0, section 3) that Latchkey uses. */
export interface IssuerMetadata {
  readonly jwksUri: string
  readonly tokenEndpoint: string
  /** Absent if the provider has no device flow. */
  readonly deviceEndpoint?: string
}

export interface IssuerHttp {
  get(url: string): Promise<HttpAnswer>
  post(url: string, form: Readonly<Record<string, string>>): Promise<HttpAnswer>
}

/** @param ca PEM text of authorities to trust instead of the system's */
export function createIssuerHttp(ca: string | undefined): IssuerHttp {
  async function call(url: string, method: string, body?: string): Promise<HttpAnswer> {
    const headers = body === undefined ? {} : { 'content-type': FORM }
    const options = { method, headers, signal: AbortSignal.timeout(TIMEOUT_MS) }
    const request = url.startsWith('https:')
      ? https.request(url, { ...options, ...(ca === undefined ? {} : { ca }) })
      : http.request(url, options)
    return exchange(request, body, MAX_ANSWER_BYTES).catch((cause: unknown) => {
      throw new LoginError('ISSUER_UNREACHABLE', `${url} cannot be called`, { cause })
    })
  }
  return {
    get: (url) => call(url, 'GET'),
    post: (url, form) => call(url, 'POST', new URLSearchParams(form).toString()),
  }
}

const FORM = 'application/x-www-form-urlencoded'

/** OpenID Connect Discovery 1.0, 4. @throws LoginError ISSUER_UNREACHABLE */
export async function discover({ get }: IssuerHttp, issuer: string): Promise<IssuerMetadata> {
  const { text } = await get(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
  const found = parseObject(text)
  const jwksUri = found['jwks_uri']
  const tokenEndpoint = found['token_endpoint']
  const deviceEndpoint = found['device_authorization_endpoint']
  // Section 4.3: the document must name the issuer that it was requested from.
  if (
    found['issuer'] !== issuer ||
    typeof jwksUri !== 'string' ||
    typeof tokenEndpoint !== 'string'
  ) {
    throw new LoginError('ISSUER_UNREACHABLE', `${issuer} has no valid OpenID Connect metadata`)
  }
  return {
    ...{ jwksUri, tokenEndpoint },
    ...(typeof deviceEndpoint === 'string' && { deviceEndpoint }),
  }
}

/** Parses a JSON object; returns an empty object for any other text. */
export function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}
