/**
 * Verifies an identity provider's tokens: their signature by one of the issuer's keys, their
 * issuer, their audience and their times. Roles come from a claim, and from the store's operator
 * with the same name.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  type JSONWebKeySet,
  type JWTPayload,
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  errors,
  jwtVerify,
} from 'jose'
import type { OidcConfig } from '../../config/config.ts'
import type { Grant } from '../../core/role.ts'
import { AdminError } from '../errors.ts'
import { type IssuerHttp, LoginError, createIssuerHttp, discover } from './issuer.ts'

/**
 * Only asymmetric algorithms are accepted: with a shared secret, anyone who can verify could also
 * sign.
 */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']
/** An unknown key id triggers another read of the keys, at most once in this period. */
const COOLDOWN_MS = 1000
const KEYS_MAX_AGE_MS = 600_000
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/

interface Named {
  readonly name: string
  readonly grants: readonly Grant[]
  readonly isPersonal: boolean
}

/**
 * @param ca PEM text of authorities to trust for the issuer
 * @param findByName finds an operator in the store
 */
export function createIdTokenVerifier(
  config: OidcConfig,
  ca: string | undefined,
  findByName: (name: string) => Promise<Named | undefined>,
): (token: string) => Promise<Named | undefined> {
  const http = createIssuerHttp(ca)
  // Every read begins with the metadata, so faulty metadata affects one read at most. After a
  // failed read, the previous keys stay in use until they are KEYS_MAX_AGE_MS old.
  const keys = createRemoteJWKSet(new URL(config.issuer), {
    cooldownDuration: COOLDOWN_MS,
    cacheMaxAge: KEYS_MAX_AGE_MS,
    [customFetch]: async () => new Response(await readKeySet(http, config.issuer)),
  })

  return async (token) => {
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer: config.issuer,
        audience: config.audience,
        algorithms: ALGORITHMS,
        clockTolerance: config.clockSkewMs / 1000,
        requiredClaims: ['sub', 'iat', 'exp'],
      })
      return await toNamed(config, payload, findByName)
    } catch (cause) {
      // JWKSInvalid means that the issuer published something other than a set of public keys.
      if (cause instanceof LoginError || cause instanceof errors.JWKSInvalid) {
        throw new AdminError('UNAVAILABLE', 'the identity provider is unavailable', { cause })
      }
      // jose checks the times last, so an expired token is otherwise valid: the issuer signed it
      // for this listener.
      if (cause instanceof errors.JWTExpired) {
        throw new AdminError('UNAUTHENTICATED', 'the session has expired', {
          ...{ cause, hint: 'log in again; on the command line, use latchkey login' },
        })
      }
      if (cause instanceof errors.JOSEError) return undefined
      throw cause
    }
  }
}

/**
 * Returns the issuer's keys as JSON (RFC 7517, section 5). Any other response is the issuer's fault
 * and does not invalidate its tokens.
 * @throws LoginError ISSUER_UNREACHABLE
 */
async function readKeySet(http: IssuerHttp, issuer: string): Promise<string> {
  const { jwksUri } = await discover(http, issuer)
  const { status, text } = await http.get(jwksUri)
  try {
    if (status !== 200) throw new TypeError(`status ${String(status)}`)
    createLocalJWKSet(JSON.parse(text) as JSONWebKeySet)
  } catch (cause) {
    throw new LoginError('ISSUER_UNREACHABLE', `${jwksUri} did not return a valid key set`, {
      cause,
    })
  }
  return text
}

async function toNamed(
  { nameClaim, rolesClaim, roles }: OidcConfig,
  payload: JWTPayload,
  findByName: (name: string) => Promise<Named | undefined>,
): Promise<Named | undefined> {
  const name = payload[nameClaim]
  if (typeof name !== 'string' || !NAME.test(name)) return undefined
  // `email` counts as a name only if the provider has verified it.
  if (nameClaim === 'email' && payload['email_verified'] !== true) return undefined
  const claimed = payload[rolesClaim]
  const values: readonly unknown[] = Array.isArray(claimed) ? claimed : [claimed]
  const granted = roles
    .filter(({ value }) => values.includes(value))
    .map(({ role, keyStores }) => ({ role, ...(keyStores && { keyStores }) }))
  const stored = await findByName(name)
  return { name, grants: [...granted, ...(stored?.grants ?? [])], isPersonal: true }
}
