/**
 * Tests how often the console's login calls the identity provider, and what fails if the provider's metadata is faulty.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createCodeFlow } from '../../src/admin/oidc/code-flow.ts'
import { createIdTokenVerifier } from '../../src/admin/oidc/verify.ts'
import type { OidcConfig } from '../../src/config/config.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { createKey } from '../support/issuer.ts'
import { eventually } from '../support/server.ts'

const METADATA = '/.well-known/openid-configuration'
const REDEMPTION = { code: 'c', verifier: 'v', redirectUri: 'https://localhost/console' }

/** Starts an issuer on loopback that counts calls, and holds back its responses for the paths in `held`. */
async function setUp(t: Test) {
  const key = await createKey('one')
  const calls: string[] = []
  const held = new Set<string>()
  const waiting: (() => void)[] = []
  let change: object = {}
  let status = 200
  const server = http.createServer(({ url = '' }, response) => {
    calls.push(url)
    const bodies: Readonly<Record<string, object>> = {
      [METADATA]: {
        ...{ issuer, jwks_uri: `${issuer}/jwks`, token_endpoint: `${issuer}/token` },
        ...{ authorization_endpoint: `${issuer}/authorize`, ...change },
      },
      '/jwks': { keys: [key.publicJwk] },
      '/token': { id_token: 'token' },
    }
    const answer = () => response.writeHead(status).end(JSON.stringify(bodies[url] ?? {}))
    if (held.has(url)) waiting.push(answer)
    else answer()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`
  const clock = new FakeClock()
  const flow = createCodeFlow({ issuer, clientId: 'console', scope: 'openid' }, undefined, clock)
  return {
    ...{ flow, clock, key, issuer },
    count: (path: string) => calls.filter((one) => one === path).length,
    hold: (path: string) => held.add(path),
    release() {
      held.clear()
      for (const answer of waiting.splice(0)) answer()
    },
    disturb(metadata: object, code = 200) {
      change = metadata
      status = code
    },
  }
}

void t.test('any number of callers cause one call to the issuer in five minutes', async (t) => {
  const { flow, clock, issuer, count, hold, release } = await setUp(t)
  hold(METADATA)
  const started = Promise.all(Array.from({ length: 20 }, () => flow.start()))
  await eventually(() => count(METADATA) > 0)
  release()
  for (const { authorizationEndpoint } of await started)
    t.equal(authorizationEndpoint, `${issuer}/authorize`)
  await flow.start()
  t.equal(count(METADATA), 1)
  clock.advance(300_000)
  await flow.start()
  t.equal(count(METADATA), 2)
})

void t.test('a failure is remembered for three seconds', async (t) => {
  const { flow, clock, count, disturb } = await setUp(t)
  disturb({ issuer: 'https://another.example' })
  for (let i = 0; i < 5; i++) await t.rejects(flow.start(), { code: 'UNAVAILABLE' })
  t.equal(count(METADATA), 1)
  disturb({})
  clock.advance(3000)
  await flow.start()
  t.equal(count(METADATA), 2)
})

void t.test('held redemptions do not keep others from starting a login', async (t) => {
  const { flow, count, hold, release } = await setUp(t)
  hold('/token')
  const redeemed = Array.from({ length: 8 }, () => flow.redeem(REDEMPTION))
  await eventually(() => count('/token') === 8)
  await flow.start()
  await t.rejects(flow.redeem(REDEMPTION), { code: 'UNAVAILABLE', message: /too many/ })
  release()
  for (const { token } of await Promise.all(redeemed)) t.equal(token, 'token')
})

for (const address of ['not a URL', 'http://login.example.com/token'])
  void t.test(`the token endpoint ${address} is forgotten after three seconds`, async (t) => {
    const { flow, clock, disturb } = await setUp(t)
    disturb({ token_endpoint: address })
    await t.rejects(flow.redeem(REDEMPTION), { code: 'UNAVAILABLE' })
    disturb({})
    clock.advance(3000)
    t.same(await flow.redeem(REDEMPTION), { token: 'token' })
  })

for (const address of ['not a URL', 'http://login.example.com/', 'javascript:alert(1)'])
  void t.test(`the authorization endpoint ${address} breaks only its flow`, async (t) => {
    const { flow, clock, key, issuer, disturb } = await setUp(t)
    disturb({ authorization_endpoint: address })
    await t.rejects(flow.start(), { code: 'UNAVAILABLE' })
    t.same(await flow.redeem(REDEMPTION), { token: 'token' })
    const config: OidcConfig = {
      ...{ issuer, audience: 'console', clientId: 'console', scope: 'openid', roles: [] },
      ...{ nameClaim: 'sub', rolesClaim: 'groups', clockSkewMs: 30_000 },
    }
    const verify = createIdTokenVerifier(config, undefined, () => Promise.resolve(undefined))
    const iat = Math.floor(Date.now() / 1000)
    const claims = { iss: issuer, aud: 'console', sub: 'alice', iat, exp: iat + 300 }
    t.match(await verify(await key.sign(claims)), { name: 'alice' })
    disturb({})
    clock.advance(3000)
    t.equal((await flow.start()).authorizationEndpoint, `${issuer}/authorize`)
  })
