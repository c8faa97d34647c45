/**
 * Verifies tokens of an identity provider: signature by a key of the issuer, issuer, audience and
 * times. Roles come from a claim, and from the operator of the store with the same name.
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

/** Asymmetric algorithms only: with a shared secret, anyone who can verify could also sign. */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA']
/** An unknown key id triggers another read of the keys, at most once in this period. */
const COOLDOWN_MS = 1000
const KEYS_MAX_AGE_MS = 600_000
const NAME = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/

interface Named {
  readonly name: string
  readonly grants: readonly Grant[]
}

/**
 * @param ca PEM text of authorities to trust for the issuer
 * @param findByName finds an operator of the store
 */
export function createIdTokenVerifier(
  config: OidcConfig,
  ca: string | undefined,
  findByName: (name: string) => Promise<Named | undefined>,
): (token: string) => Promise<Named | undefined> {
  const http = createIssuerHttp(ca)
  // Every read begins with the metadata, so that nothing wrong in them outlasts one read. A failed
  // read leaves the last keys in use, until they are KEYS_MAX_AGE_MS old.
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
      // JWKSInvalid: the issuer has published something else than public keys.
      if (cause instanceof LoginError || cause instanceof errors.JWKSInvalid) {
        throw new AdminError('UNAVAILABLE', 'the identity provider does not answer', { cause })
      }
      if (cause instanceof errors.JOSEError) return undefined
      throw cause
    }
  }
}

/**
 * Returns the issuer's keys as JSON (RFC 7517, 5). Anything else is an issuer error, and no reason to
 * refuse its tokens.
 * @throws LoginError ISSUER_UNREACHABLE
 */
async function readKeySet(http: IssuerHttp, issuer: string): Promise<string> {
  const { jwksUri } = await discover(http, issuer)
  const { status, text } = await http.get(jwksUri)
  try {
    if (status !== 200) throw new TypeError(`status ${String(status)}`)
    createLocalJWKSet(JSON.parse(text) as JSONWebKeySet)
  } catch (cause) {
    throw new LoginError('ISSUER_UNREACHABLE', `${jwksUri} has no valid key set`, { cause })
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
  // `email` is a name only once the provider has verified it.
  if (nameClaim === 'email' && payload['email_verified'] !== true) return undefined
  const claimed = payload[rolesClaim]
  const values: readonly unknown[] = Array.isArray(claimed) ? claimed : [claimed]
  const granted = roles
    .filter(({ value }) => values.includes(value))
    .map(({ role, keyStores }) => ({ role, ...(keyStores && { keyStores }) }))
  const stored = await findByName(name)
  return { name, grants: [...granted, ...(stored?.grants ?? [])] }
}
