/** Tests the device flow login with a real identity provider, and how the listener verifies tokens. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { SignJWT } from 'jose'
import t, { type Test } from 'tap'
import { call, pki, startWithAdmin, token } from '../support/admin.ts'
import { latchkeyHere, temporaryFolder } from '../support/cli.ts'
import { CLIENT, type Key, createKey, startIssuer } from '../support/issuer.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(120_000)

const METADATA = '/.well-known/openid-configuration'
const KEYS = '/jwks'

async function start(t: Test) {
  const key = await createKey('one')
  const provider = await startIssuer(t, key)
  const oidc = {
    ...{ issuer: provider.issuer, audience: CLIENT, ca: pki.caFile },
    roles: [{ value: 'oncall', role: 'operator', keyStores: ['demo'] }],
  }
  const server = await startWithAdmin(t, {}, { oidc })
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    ...{ iss: provider.issuer, aud: CLIENT, sub: 'alice', groups: ['oncall'] },
    ...{ iat: now, exp: now + 300 },
  }
  const status = async (bearer: string) =>
    (await call(server, 'GET', '/admin/v1/status', { token: bearer })).status
  return { key, provider, server, claims, now, status }
}

void t.test('a person logs in with the device flow and gets the roles in the claims', async (t) => {
  const { provider, server } = await start(t)
  const HOME = await temporaryFolder(t)
  const base = {
    LATCHKEY_ADDR: `https://localhost:${String(server.running.admin?.port)}`,
    ...{ LATCHKEY_CACERT: pki.caFile, HOME },
  }
  const codes: string[] = []
  const run = (...words: string[]) =>
    latchkeyHere(words, base, (text) => {
      const [, code] = /confirm the code (\S+)/.exec(text) ?? []
      if (code === undefined) return
      codes.push(code)
      void provider.confirm(code, 'alice')
    })
  t.equal((await run('status')).code, 1, 'nobody yet')
  const done = await run('login', '--issuer-ca', pki.caFile)
  t.match(
    done.stdout,
    /^logged in to https:\/\/localhost:\d+ as alice, operator of demo\n/,
    done.stderr,
  )
  t.equal(codes.length, 1)
  t.equal((await run('status')).code, 0)
  t.equal((await run('kill', '--key-store', 'demo', '--reason', 'x')).code, 0)
  t.equal((await run('kill', '--all', '--reason', 'x')).code, 1, 'the role is for one key store')
  // A saved login also applies when a flag names the listener.
  const { LATCHKEY_ADDR: url, ...rest } = base
  const auditor = await latchkeyHere(['audit', 'verify', '--url', url, '--public-key', 'x'], rest)
  t.match(auditor, { code: 1, stderr: /the role operator of demo/ })
  const seen = await latchkeyHere(['status'], { ...base, LATCHKEY_TOKEN: token('viewer') })
  t.match(seen.stdout, /by alice/)
})

void t.test('a token requires the right issuer, audience, times, algorithm and key', async (t) => {
  const { key, claims, now, status, server } = await start(t)
  t.equal(await status(await key.sign(claims)), 200)
  t.equal(await status(await key.sign({ ...claims, exp: now - 10 })), 200, 'within the skew')
  const other = await createKey('one')
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const body = encode(claims)
  const wrong: Record<string, string> = {
    issuer: await key.sign({ ...claims, iss: 'https://localhost:1' }),
    audience: await key.sign({ ...claims, aud: 'another-client' }),
    expired: await key.sign({ ...claims, exp: now - 60 }),
    early: await key.sign({ ...claims, nbf: now + 120 }),
    'no expiry': await key.sign({ ...claims, exp: undefined }),
    'no role': await key.sign({ ...claims, groups: ['everyone'] }),
    'a role as a text': await key.sign({ ...claims, groups: 'oncall,' }),
    'no name': await key.sign({ ...claims, sub: '' }),
    'another key': await other.sign(claims),
    'an unknown key': await (await createKey('two')).sign(claims),
    none: `${encode({ alg: 'none' })}.${body}.`,
    'none, with a signature': `${encode({ alg: 'none' })}.${body}.AAAA`,
    'a shared secret': await new SignJWT(claims)
      .setProtectedHeader({ alg: 'HS256', kid: 'one' })
      .sign(Buffer.from(JSON.stringify(key.jwk))),
    changed: (await key.sign(claims)).replace(
      /\.[^.]+\./,
      `.${encode({ ...claims, sub: 'eve' })}.`,
    ),
  }
  for (const [name, text] of Object.entries(wrong)) t.equal(await status(text), 401, name)
  const long = await key.sign({ ...claims, filler: 'x'.repeat(20_000) })
  t.equal(await status(long).catch(() => 431), 431, 'larger than any header')
  t.ok(server.running.admin)
})

void t.test("the issuer's keys rotate, and the store can add roles", async (t) => {
  const { key, provider, claims, status, server } = await start(t)
  t.equal(await status(await key.sign(claims)), 200)
  const next = await createKey('two')
  const fresh = await next.sign(claims)
  t.equal(await status(fresh), 401, 'not published yet')
  provider.rotate(next)
  await eventually(async () => (await status(fresh)) === 200)
  t.equal(await status(await key.sign(claims)), 401, 'the old key is withdrawn')
  const operator = { name: 'alice', kind: 'person', role: 'viewer' }
  const added = await call(server, 'POST', '/admin/v1/operators', {
    ...{ token: token('admin'), body: operator },
  })
  t.equal(added.status, 200)
  const plain = await next.sign({ ...claims, groups: [] })
  t.equal(await status(plain), 200, 'the operator of the store with this name')
})

void t.test('an unreachable identity provider is not a reason to reject tokens', async (t) => {
  const oidc = { issuer: 'https://localhost:1', audience: CLIENT, roles: [] }
  const server = await startWithAdmin(t, {}, { oidc })
  const bearer = await (await createKey('one')).sign({ sub: 'alice' })
  const answer = await call(server, 'GET', '/admin/v1/status', { token: bearer })
  t.match(answer, { status: 503, body: { error: { code: 'UNAVAILABLE' } } })
  const own = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.equal(own.status, 200, 'other callers are not affected')
})

void t.test('while the issuer fails, its known keys stay in use', async (t) => {
  const { key, provider, claims, status } = await start(t)
  const known = await key.sign(claims)
  const unknown = await (await createKey('two')).sign(claims)
  t.equal(await status(known), 200)
  for (const [what, path] of [
    ['keys', KEYS],
    ['metadata', METADATA],
  ] as const) {
    provider.disturb({ [path]: '{}' }, 503)
    await eventually(async () => (await status(unknown)) === 503)
    t.equal(await status(known), 200, `${what} unavailable`)
    provider.heal()
    await eventually(async () => (await status(unknown)) === 401)
  }
})

void t.test(
  'an invalid response from the issuer rejects no token, and is not cached',
  async (t) => {
    const { key, provider, claims, status } = await start(t)
    const bearer = await key.sign(claims)
    const { issuer } = provider
    const real = { issuer, jwks_uri: `${issuer}${KEYS}`, token_endpoint: `${issuer}/token` }
    const metadata = (change: object) => ({ [METADATA]: JSON.stringify({ ...real, ...change }) })
    const copies = await startPlainCopy(t, key)
    const bad: Readonly<Record<string, Readonly<Record<string, string>>>> = {
      'no address': metadata({ jwks_uri: 'keys' }),
      'another protocol': metadata({ jwks_uri: 'ftp://localhost/jwks' }),
      'an address that cannot be called': metadata({ jwks_uri: 'https://%zz@localhost/jwks' }),
      'another issuer': metadata({ issuer: 'https://localhost:1' }),
      'keys over plain HTTP': metadata({ jwks_uri: copies.remote }),
      'no JSON': { [KEYS]: '<html>' },
      'no key set': { [KEYS]: '{"keys":{}}' },
      'no keys in it': { [KEYS]: '{"keys":["one"]}' },
    }
    for (const [name, bodies] of Object.entries(bad)) {
      provider.disturb(bodies)
      t.equal(await status(bearer), 503, name)
    }
    provider.disturb({ [KEYS]: JSON.stringify({ keys: [key.publicJwk] }) }, 503)
    t.equal(await status(bearer), 503, 'keys with an error')
    t.equal(copies.calls(), 0)
    provider.disturb(metadata({ jwks_uri: copies.local }))
    t.equal(await status(bearer), 200, 'plain HTTP on loopback')
    t.equal(copies.calls(), 1)
  },
)

void t.test('an issuer that publishes private keys is reported as faulty', async (t) => {
  const { key, provider, claims, status } = await start(t)
  provider.disturb({ [KEYS]: JSON.stringify({ keys: [key.jwk] }) })
  t.equal(await status(await key.sign(claims)), 503)
})

/**
 * Serves the issuer's public key over plain HTTP, on a loopback address and on an address that does not look like
 * loopback.
 */
async function startPlainCopy(t: Test, { publicJwk }: Key) {
  let calls = 0
  const server = http.createServer((_request, response) => {
    calls++
    response.end(JSON.stringify({ keys: [publicJwk] }))
  })
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  t.teardown(() => server.close())
  const port = String((server.address() as AddressInfo).port)
  return {
    ...{ local: `http://127.0.0.1:${port}/`, remote: `http://0.0.0.0:${port}/` },
    calls: () => calls,
  }
}
