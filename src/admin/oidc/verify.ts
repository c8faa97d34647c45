/**
 * Verifies tokens of an identity provider: signature by a key of the issuer, issuer, audience and
 * times. Roles come from a claim, and from the operator of the store with the same name.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  type JWTPayload,
  type JWTVerifyGetKey,
  createRemoteJWKSet,
  customFetch,
  errors,
  jwtVerify,
} from 'jose'
import type { OidcConfig } from '../../config/config.ts'
import type { Grant } from '../../core/role.ts'
import { AdminError } from '../errors.ts'
import { LoginError, createIssuerHttp, discover } from './issuer.ts'

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
  let keys: Promise<JWTVerifyGetKey> | undefined

  async function loadKeys(): Promise<JWTVerifyGetKey> {
    const { jwksUri } = await discover(http, config.issuer)
    return createRemoteJWKSet(new URL(jwksUri), {
      cooldownDuration: COOLDOWN_MS,
      cacheMaxAge: KEYS_MAX_AGE_MS,
      [customFetch]: async (url: string) => {
        const { status, text } = await http.get(url)
        return new Response(text, { status })
      },
    })
  }

  return async (token) => {
    keys ??= loadKeys()
    try {
      const { payload } = await jwtVerify(token, await keys, {
        issuer: config.issuer,
        audience: config.audience,
        algorithms: ALGORITHMS,
        clockTolerance: config.clockSkewMs / 1000,
        requiredClaims: ['sub', 'iat', 'exp'],
      })
      return await toNamed(config, payload, findByName)
    } catch (cause) {
      if (isUnavailable(cause)) {
        keys = undefined
        throw new AdminError('UNAVAILABLE', 'the identity provider does not answer', { cause })
      }
      if (cause instanceof errors.JOSEError) return undefined
      throw cause
    }
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof LoginError || error instanceof errors.JWKSTimeout
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
