/**
 * Implements the authorization code flow with PKCE (RFC 6749, RFC 7636) for the console. The
 * browser holds the verifier, and the listener redeems the code, so the page calls only its own
 * origin.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { components } from '../../openapi/types.gen.ts'
import { AdminError } from '../errors.ts'
import type { LoginSettings } from './device-flow.ts'
import {
  LoginError,
  createDiscovery,
  createIssuerHttp,
  parseAddress,
  parseObject,
} from './issuer.ts'

type Schemas = components['schemas']

export interface CodeFlow {
  /** Returns the address at which a browser logs in. @throws AdminError UNAVAILABLE */
  start(): Promise<Schemas['AdminLoginStart']>
  /** Redeems a code or a refresh token. @throws AdminError UNAUTHENTICATED, UNAVAILABLE */
  redeem(order: Schemas['AdminLoginRequest']): Promise<Schemas['AdminLoginSession']>
}

/**
 * Maximum number of concurrent calls to the token endpoint. Anyone may ask the listener to redeem a
 * code, but logins must not flood the issuer. Starting a login needs only the metadata, which is
 * cached.
 */
const MAX_CALLS = 8

/** @param ca PEM text of authorities to trust for the issuer */
export function createCodeFlow(
  settings: LoginSettings,
  ca: string | undefined,
  clock: Clock,
): CodeFlow {
  const { issuer, clientId, scope } = settings
  const http = createIssuerHttp(ca)
  const discover = createDiscovery(http, issuer, clock)
  let calls = 0

  async function limited<T>(work: () => Promise<T>): Promise<T> {
    if (calls >= MAX_CALLS)
      throw new AdminError(
        'UNAVAILABLE',
        'too many logins are in progress; try again in a few seconds',
      )
    calls += 1
    try {
      return await work()
    } finally {
      calls -= 1
    }
  }

  return {
    start: () =>
      wrapFaults(async () => {
        const { authorizationEndpoint: address } = await discover()
        if (address === undefined) {
          throw new AdminError(
            'NOT_FOUND',
            `${issuer} does not support the authorization code flow`,
          )
        }
        // A browser opens this address, so it must not be a script or plain HTTP.
        return { authorizationEndpoint: parseAddress(address).href, clientId, scope }
      }),
    redeem: (order) =>
      wrapFaults(async () => {
        const form = toForm(order, clientId)
        const { tokenEndpoint } = await discover()
        const { status, text } = await limited(() => http.post(tokenEndpoint, form))
        const answer = parseObject(text)
        const { id_token: token, refresh_token: refreshToken } = answer
        if (status === 200 && typeof token === 'string') {
          return { token, ...(typeof refreshToken === 'string' ? { refreshToken } : {}) }
        }
        if (status >= 500) throw new LoginError('ISSUER_UNREACHABLE', `${tokenEndpoint} failed`)
        throw toRefusal(order, answer)
      }),
  }
}

/** @throws AdminError UNAVAILABLE if the issuer is at fault */
async function wrapFaults<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (!(cause instanceof LoginError)) throw cause
    throw new AdminError('UNAVAILABLE', 'the identity provider is unavailable', { cause })
  }
}

function toForm(
  order: Schemas['AdminLoginRequest'],
  clientId: string,
): Readonly<Record<string, string>> {
  const { code, verifier, redirectUri, refreshToken } = order
  if (refreshToken !== undefined) {
    return { grant_type: 'refresh_token', client_id: clientId, refresh_token: refreshToken }
  }
  if (code === undefined || verifier === undefined || redirectUri === undefined) {
    throw new AdminError(
      'INPUT_INVALID',
      'expected code, verifier and redirectUri, or refreshToken',
    )
  }
  const proof = { code, code_verifier: verifier, redirect_uri: redirectUri }
  return { grant_type: 'authorization_code', client_id: clientId, ...proof }
}

/** The provider's error text may contain anything, so the caller gets only the error code. */
function toRefusal(
  { refreshToken }: Schemas['AdminLoginRequest'],
  { error }: Readonly<Record<string, unknown>>,
): AdminError {
  const reason = typeof error === 'string' && /^[a-z_]{1,40}$/.test(error) ? ` (${error})` : ''
  return refreshToken === undefined
    ? new AdminError('UNAUTHENTICATED', `the identity provider refused the login${reason}`)
    : new AdminError('UNAUTHENTICATED', `the session has expired${reason}`, {
        hint: 'log in again',
      })
}
