/** Calls an identity provider over HTTPS: its metadata, its keys and its token endpoint. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import { LatchkeyError } from '../../core/errors.ts'
import { type HttpAnswer, exchange } from '../../core/http-exchange.ts'
import { isExposed } from '../../core/plain-http.ts'

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

/**
 * Every call throws LoginError ISSUER_UNREACHABLE, also for an address that is not HTTPS.
 * @param ca PEM text of authorities to trust instead of the system's
 */
export function createIssuerHttp(ca: string | undefined): IssuerHttp {
  async function call(url: string, method: string, body?: string): Promise<HttpAnswer> {
    const address = parseAddress(url)
    const headers = body === undefined ? {} : { 'content-type': FORM }
    const options = { method, headers, signal: AbortSignal.timeout(TIMEOUT_MS) }
    try {
      const request =
        address.protocol === 'https:'
          ? https.request(address, { ...options, ...(ca === undefined ? {} : { ca }) })
          : http.request(address, options)
      return await exchange(request, body, MAX_ANSWER_BYTES)
    } catch (cause) {
      throw new LoginError('ISSUER_UNREACHABLE', `${url} cannot be called`, { cause })
    }
  }
  return {
    get: (url) => call(url, 'GET'),
    post: (url, form) => call(url, 'POST', new URLSearchParams(form).toString()),
  }
}

const FORM = 'application/x-www-form-urlencoded'

/**
 * Refuses plain HTTP, because an attacker who changes the issuer's keys in transit could sign tokens. The
 * metadata come from the issuer, so an address in them may be any text.
 * @throws LoginError ISSUER_UNREACHABLE
 */
function parseAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || isExposed(url)) {
    throw new LoginError('ISSUER_UNREACHABLE', `${text} is not an https:// address`)
  }
  return url
}

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
