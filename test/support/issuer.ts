/** A real identity provider, oidc-provider, over TLS, with a sign-in page. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { type JWK, SignJWT, exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'
import type { Test } from 'tap'
import { pki } from './admin.ts'

export const CLIENT = 'latchkey-cli'
/** Path of the sign-in page. */
const PERSON = '/person/'

export interface Key {
  readonly jwk: JWK
  readonly publicJwk: JWK
  sign(claims: Record<string, unknown>, alg?: string): Promise<string>
}

export async function createKey(kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const about = { kid, alg: 'ES256', use: 'sig' }
  return {
    jwk: { ...(await exportJWK(privateKey)), ...about },
    publicJwk: { ...(await exportJWK(publicKey)), ...about },
    sign: (claims) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid }).sign(privateKey),
  }
}

export interface IssuerOptions {
  /** Lifetime of ID tokens in seconds (default: an hour). */
  readonly idTokenSeconds?: number
}

/** Starts oidc-provider over TLS. `rotate` replaces its signing key. */
export async function startIssuer(
  t: Test,
  first: Key,
  { idTokenSeconds = 3600 }: IssuerOptions = {},
) {
  let handler: (request: IncomingMessage, response: ServerResponse) => unknown = () => undefined
  const server = https.createServer(
    { cert: readFileSync(pki.certificateFile), key: readFileSync(pki.privateKeyFile) },
    (request, response) => void handler(request, response),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `https://localhost:${String((server.address() as AddressInfo).port)}`
  let redirectUri = 'https://localhost:1/console'
  const grants: string[] = []
  const create = ({ jwk }: Key) =>
    new Provider(issuer, {
      clients: [
        {
          client_id: CLIENT,
          token_endpoint_auth_method: 'none',
          grant_types: [
            ...['urn:ietf:params:oauth:grant-type:device_code', 'authorization_code'],
            'refresh_token',
          ],
          response_types: ['code'],
          redirect_uris: [redirectUri],
          id_token_signed_response_alg: 'ES256',
        },
      ],
      jwks: { keys: [jwk] },
      conformIdTokenClaims: false,
      claims: { openid: ['sub', 'groups'] },
      ttl: { IdToken: idTokenSeconds },
      interactions: { url: (_context, { uid }) => `${PERSON}${uid}` },
      features: { deviceFlow: { enabled: true }, devInteractions: { enabled: false } },
      findAccount: (_context, id) => ({
        accountId: id,
        claims: () => ({ sub: id, groups: id === 'alice' ? ['oncall', 'other'] : [] }),
      }),
    })
  let provider = create(first)
  const serve = () => {
    const real = provider.callback()
    handler = (request, response) =>
      request.url?.startsWith(PERSON) === true
        ? askPerson(provider, request, response)
        : real(request, response)
  }
  serve()
  return {
    issuer,
    rotate(next: Key) {
      provider = create(next)
      serve()
    },
    /** Restarts the provider with this redirect URI. */
    allow(uri: string) {
      redirectUri = uri
      provider = create(first)
      provider.on('grant.success', ({ oidc }) => {
        grants.push(String(oidc.params?.['grant_type']))
      })
      serve()
    },
    /** Grant types of the tokens issued since `allow` was called. */
    grants,
    /** Makes requests to the given paths return these bodies and this status. */
    disturb(bodies: Readonly<Record<string, string>>, status = 200) {
      const real = provider.callback()
      handler = (request: IncomingMessage, response: ServerResponse) => {
        const body = bodies[request.url ?? '']
        if (body === undefined) return real(request, response)
        return response.writeHead(status, { 'content-type': 'application/json' }).end(body)
      }
    },
    heal() {
      serve()
    },
    /** Simulates a person who signs in on the provider's page and confirms the code. */
    async confirm(userCode: string, accountId: string) {
      const code = await provider.DeviceCode.findByUserCode(userCode.replaceAll('-', ''), {
        ignoreExpiration: false,
      })
      const grant = new provider.Grant({ accountId, clientId: CLIENT })
      grant.addOIDCScope('openid')
      const grantId = await grant.save()
      if (code === undefined) throw new Error(`no code ${userCode}`)
      Object.assign(code, { accountId, grantId, scope: 'openid', claims: {} })
      Object.assign(code, { authTime: Math.floor(Date.now() / 1000), sessionUid: 's' })
      await code.save()
    },
  }
}

/** Shows a page with one button; pressing it signs alice in and gives her consent. */
async function askPerson(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'POST') {
    const page =
      '<!doctype html><title>Issuer</title><form method="post"><button>Sign in as alice</button></form>'
    response.writeHead(200, { 'content-type': 'text/html' }).end(page)
    return
  }
  const { prompt, session, params } = await provider.interactionDetails(request, response)
  if (prompt.name === 'login') {
    await provider.interactionFinished(request, response, { login: { accountId: 'alice' } })
    return
  }
  const grant = new provider.Grant({ accountId: session?.accountId ?? '', clientId: CLIENT })
  grant.addOIDCScope(String(params['scope']))
  await provider.interactionFinished(request, response, {
    consent: { grantId: await grant.save() },
  })
}
