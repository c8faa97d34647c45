/** Tests the connection to AWS through an operator's network: proxies and private authorities. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { connect, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { openKms } from '../../../src/tools/register/kms-api.ts'
import { createAwsAgent, isDirect } from '../../../src/tools/register/network.ts'
import { testPki } from '../../support/pki.ts'

const pki = await testPki()

async function listen(t: Test, server: http.Server, host = '127.0.0.1'): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function setUp(t: Test, refusal?: number, proxyHost?: string) {
  const pair = { cert: readFileSync(pki.certificateFile), key: readFileSync(pki.privateKeyFile) }
  const aws = await listen(
    t,
    https.createServer(pair, (_request, response) => response.end('from AWS')),
  )
  const asked: (string | undefined)[] = []
  const proxy = http.createServer()
  proxy.on('connect', (request, socket) => {
    asked.push(`${request.url ?? ''} ${request.headers['proxy-authorization'] ?? ''}`.trim())
    if (refusal !== undefined) {
      socket.end(`HTTP/1.1 ${String(refusal)} No\r\n\r\n`)
      return
    }
    const upstream = connect(aws, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
    })
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
  })
  return { aws, asked, proxyPort: await listen(t, proxy, proxyHost) }
}

async function get(t: Test, port: number, environment: NodeJS.ProcessEnv): Promise<string> {
  const agent = await createAwsAgent(environment)
  t.teardown(() => {
    agent.destroy()
  })
  return new Promise((resolve, reject) => {
    https
      .get({ host: 'localhost', port, agent }, (response) => {
        response.on('data', (chunk: Buffer) => {
          resolve(chunk.toString())
        })
      })
      .on('error', reject)
  })
}

void t.test('through the proxy, and past it for what NO_PROXY names', async (t) => {
  const { aws, asked, proxyPort } = await setUp(t)
  const bundle = { AWS_CA_BUNDLE: pki.caFile }
  const proxy = { HTTPS_PROXY: `http://user:p%40ss@127.0.0.1:${String(proxyPort)}`, ...bundle }
  t.equal(await get(t, aws, proxy), 'from AWS')
  const login = Buffer.from('user:p@ss').toString('base64')
  t.same(asked, [`localhost:${String(aws)} Basic ${login}`])
  t.equal(await get(t, aws, { ...proxy, NO_PROXY: 'example.com,localhost' }), 'from AWS')
  t.equal(await get(t, aws, { ...proxy, https_proxy: '' }), 'from AWS', 'lower case comes first')
  t.equal(asked.length, 1)
  t.equal(
    await get(t, aws, { https_proxy: `127.0.0.1:${String(proxyPort)}`, ...bundle }),
    'from AWS',
  )
  t.equal(asked.length, 2)
})

void t.test('a proxy with an IPv6 address, and a password with a bare percent sign', async (t) => {
  const { aws, asked, proxyPort } = await setUp(t, undefined, '::1')
  for (const [written, password] of [
    ['50%', '50%'],
    ['a%zz', 'a%zz'],
    ['a%25', 'a%'],
  ] as const) {
    const HTTPS_PROXY = `http://user:${written}@[::1]:${String(proxyPort)}`
    t.equal(await get(t, aws, { HTTPS_PROXY, AWS_CA_BUNDLE: pki.caFile }), 'from AWS')
    const login = Buffer.from(`user:${password}`).toString('base64')
    t.equal(asked.at(-1), `localhost:${String(aws)} Basic ${login}`)
  }
})

void t.test('IAM Identity Center is asked through the proxy too', async (t) => {
  const { asked, proxyPort } = await setUp(t, 403)
  const home = t.testdir({
    '.aws': {
      config: [
        '[profile sso]',
        'sso_start_url = https://example.awsapps.com/start',
        'sso_region = eu-west-1',
        'sso_account_id = 123456789012',
        'sso_role_name = admin',
        'region = eu-west-1',
      ].join('\n'),
      sso: {
        cache: {
          // SHA-1 of the start URL.
          [`${createHash('sha1').update('https://example.awsapps.com/start').digest('hex')}.json`]:
            JSON.stringify({ accessToken: 'token', expiresAt: '2099-01-01T00:00:00Z' }),
        },
      },
    },
  })
  const environment = {
    ...{ HOME: home, AWS_PROFILE: 'sso', AWS_MAX_ATTEMPTS: '1' },
    HTTPS_PROXY: `http://127.0.0.1:${String(proxyPort)}`,
  }
  const before = { ...process.env }
  t.teardown(() => {
    process.env = before
  })
  const others = Object.entries(before).filter(([name]) => !/^AWS_|_proxy$/i.test(name))
  process.env = { ...Object.fromEntries(others), ...environment }
  const kms = await openKms(undefined)
  t.teardown(() => {
    kms.close()
  })
  await t.rejects(kms.findStore('any'))
  t.ok(asked.length > 0)
  t.same([...new Set(asked)], ['portal.sso.eu-west-1.amazonaws.com:443'])
})

void t.test('authorities are those of AWS_CA_BUNDLE, and of the system without it', async (t) => {
  const { aws } = await setUp(t)
  t.equal(await get(t, aws, { AWS_CA_BUNDLE: pki.caFile }), 'from AWS')
  await t.rejects(get(t, aws, {}), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  await t.rejects(createAwsAgent({ AWS_CA_BUNDLE: '/nowhere/ca.pem' }), { code: 'ENOENT' })
})

void t.test('a proxy that refuses is named, and its password is not', async (t) => {
  const { aws, proxyPort } = await setUp(t, 407)
  const HTTPS_PROXY = `http://user:secret@127.0.0.1:${String(proxyPort)}`
  const error: unknown = await get(t, aws, { HTTPS_PROXY }).catch((thrown: unknown) => thrown)
  t.match(error, { message: 'the proxy of HTTPS_PROXY answered 407' })
  for (const wrong of ['socks5://user:secret@host', 'http://user:secret@:x']) {
    const refused: unknown = await createAwsAgent({ HTTPS_PROXY: wrong }).catch((e: unknown) => e)
    t.match(refused, { code: 'USAGE', message: /HTTPS_PROXY: expected/ })
    t.notMatch(String(refused), /secret/)
  }
})

void t.test('NO_PROXY, entry by entry', (t) => {
  const host = 'kms.eu-west-1.amazonaws.com'
  for (const entry of [
    '*',
    host,
    '.amazonaws.com',
    'amazonaws.com',
    '*.amazonaws.com',
    'x, AMAZONAWS.com',
    `${host}:443`,
  ])
    t.ok(isDirect(host, 443, entry), entry)
  for (const entry of [
    '',
    ',',
    'aws.com',
    'kms',
    'sts.eu-west-1.amazonaws.com',
    `${host}:8443`,
    'com.amazonaws',
  ])
    t.notOk(isDirect(host, 443, entry), entry)
  t.end()
})
