/**
 * Calls an identity provider over HTTPS, to read its metadata and its keys and to use its token
 * endpoint.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import https from 'node:https'
import type { Clock } from '../../core/clock.ts'
import { LatchkeyError } from '../../core/errors.ts'
import { type HttpAnswer, exchange } from '../../core/http-exchange.ts'
import { isExposed } from '../../core/plain-http.ts'

const TIMEOUT_MS = 10_000
const MAX_ANSWER_BYTES = 1024 * 1024

type LoginErrorCode =
  | 'ISSUER_UNREACHABLE' // the identity provider did not respond, or its response violates OpenID Connect
  | 'LOGIN_REFUSED' // the identity provider refused the login, or the user did not confirm the login in time

export class LoginError extends LatchkeyError<LoginErrorCode> {
  override readonly name = 'LoginError'
}

/** Fields of the provider metadata (OpenID Connect Discovery 1.0, section 3) that Latchkey uses. */
export interface IssuerMetadata {
  readonly jwksUri: string
  readonly tokenEndpoint: string
  /**
   * Absent if the provider does not support the authorization code flow. The URL is not checked
   * here, because an invalid URL does not affect other flows.
   */
  readonly authorizationEndpoint?: string
  /** Absent if the provider does not support the device flow. */
  readonly deviceEndpoint?: string
}

export interface IssuerHttp {
  get(url: string): Promise<HttpAnswer>
  post(url: string, form: Readonly<Record<string, string>>): Promise<HttpAnswer>
}

/**
 * Every call throws LoginError ISSUER_UNREACHABLE if it fails or if the address is not HTTPS.
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
      throw new LoginError('ISSUER_UNREACHABLE', `cannot reach ${url}`, { cause })
    }
  }
  return {
    get: (url) => call(url, 'GET'),
    post: (url, form) => call(url, 'POST', new URLSearchParams(form).toString()),
  }
}

const FORM = 'application/x-www-form-urlencoded'

/**
 * Refuses plain HTTP, because an attacker who changes the issuer's keys in transit could sign
 * tokens. The issuer supplies the metadata, so the URLs in it may be malformed.
 * @throws LoginError ISSUER_UNREACHABLE
 */
export function parseAddress(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || isExposed(url)) {
    throw new LoginError('ISSUER_UNREACHABLE', `expected an https:// address, found ${text}`)
  }
  return url
}

/**
 * Fetches the issuer's metadata (OpenID Connect Discovery 1.0, section 4).
 * @throws LoginError ISSUER_UNREACHABLE
 */
export async function discover({ get }: IssuerHttp, issuer: string): Promise<IssuerMetadata> {
  const { text } = await get(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`)
  const found = parseObject(text)
  const jwksUri = found['jwks_uri']
  const tokenEndpoint = found['token_endpoint']
  const deviceEndpoint = found['device_authorization_endpoint']
  const authorizationEndpoint = found['authorization_endpoint']
  // The document must name the issuer from which it was requested (section 4.3).
  if (
    found['issuer'] !== issuer ||
    typeof jwksUri !== 'string' ||
    typeof tokenEndpoint !== 'string'
  ) {
    throw new LoginError(
      'ISSUER_UNREACHABLE',
      `${issuer} did not return valid OpenID Connect metadata`,
    )
  }
  return {
    ...{ jwksUri, tokenEndpoint },
    ...(typeof deviceEndpoint === 'string' && { deviceEndpoint }),
    ...(typeof authorizationEndpoint === 'string' && { authorizationEndpoint }),
  }
}

/**
 * These limits are short, so that faulty metadata or a failure does not stay in the cache long
 * after the issuer has fixed the problem.
 */
const METADATA_MAX_AGE_MS = 300_000
const FAILURE_MAX_AGE_MS = 3000

/**
 * Returns a function that discovers the issuer's metadata and caches it, failures included.
 * Concurrent calls share one request, so unauthenticated callers cannot make the listener call the
 * issuer at will.
 */
export function createDiscovery(
  http: IssuerHttp,
  issuer: string,
  clock: Clock,
): () => Promise<IssuerMetadata> {
  let cached: { readonly metadata: Promise<IssuerMetadata>; endsAt: number } | undefined
  return () => {
    if (cached !== undefined && clock.monotonic() < cached.endsAt) return cached.metadata
    const metadata = discover(http, issuer)
    const entry = { metadata, endsAt: Infinity }
    cached = entry
    const keepFor = (ms: number) => {
      entry.endsAt = clock.monotonic() + ms
    }
    metadata.then(
      (found) => {
        keepFor(isUsable(found) ? METADATA_MAX_AGE_MS : FAILURE_MAX_AGE_MS)
      },
      () => {
        keepFor(FAILURE_MAX_AGE_MS)
      },
    )
    return metadata
  }
}

function isUsable({ tokenEndpoint, authorizationEndpoint }: IssuerMetadata): boolean {
  return [tokenEndpoint, authorizationEndpoint].every(
    (address) => address === undefined || (URL.canParse(address) && !isExposed(new URL(address))),
  )
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
