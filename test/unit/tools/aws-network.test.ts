/** Tests connecting to AWS through an operator's network: proxies and private CAs. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createHttpsAgent, isDirect } from '../../../src/core/proxy.ts'
import { openKms } from '../../../src/tools/register/kms-api.ts'
import { createAwsAgent } from '../../../src/tools/register/network.ts'
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

void t.test('calls go through the proxy, except to hosts in NO_PROXY', async (t) => {
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
          // The AWS CLI names the cached token's file after the SHA-1 of the start URL.
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

/** Starts a server that accepts connections and passes each to `onSocket`. */
async function listenRaw(t: Test, onSocket: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined))
    onSocket(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Sends a byte now and then, until the peer closes the connection. */
function trickle(socket: Socket, byte: string): void {
  const timer = setInterval(() => socket.write(byte), 20)
  socket.once('close', () => {
    clearInterval(timer)
  })
}

const HEADERS = 'HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\n'

for (const [what, onSocket, timeouts] of [
  ['answers nothing', () => undefined, { requestMs: 100, callMs: 60_000 }],
  [
    'stops within its answer',
    (socket: Socket) => socket.write(`${HEADERS}content-length: 2\r\n\r\n{`),
    { requestMs: 100, callMs: 60_000 },
  ],
  [
    'answers without an end',
    (socket: Socket) => {
      socket.write(`${HEADERS}transfer-encoding: chunked\r\n\r\n`)
      trickle(socket, '1\r\n \r\n')
    },
    { requestMs: 60_000, callMs: 500 },
  ],
] as const)
  void t.test(`a call to KMS ends although the service ${what}`, async (t) => {
    const port = await listenRaw(t, onSocket)
    const before = { ...process.env }
    t.teardown(() => {
      process.env = before
    })
    const others = Object.entries(before).filter(([name]) => !/^AWS_|_proxy$/i.test(name))
    process.env = {
      ...Object.fromEntries(others),
      ...{ AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret' },
      ...{ AWS_ENDPOINT_URL_KMS: `http://127.0.0.1:${String(port)}`, AWS_MAX_ATTEMPTS: '1' },
    }
    const kms = await openKms('eu-west-1', { connectMs: 5000, ...timeouts })
    t.teardown(() => {
      kms.close()
    })
    await t.rejects(kms.findStore('any'), { code: 'KMS_REFUSED' })
  })

void t.test('a proxy that answers without an end is given up', async (t) => {
  const port = await listenRaw(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nx-trickle: ')
    trickle(socket, 'x')
  })
  const proxy = { url: new URL(`http://127.0.0.1:${String(port)}`), except: '' }
  const agent = createHttpsAgent(proxy, {}, 300)
  t.teardown(() => {
    agent.destroy()
  })
  const called = new Promise((resolve, reject) => {
    https.get({ host: 'kms.example.com', agent }, resolve).on('error', reject)
  })
  await t.rejects(called, { message: 'the proxy in HTTPS_PROXY did not respond in time' })
})

void t.test('an IPv6 address has brackets in CONNECT', async (t) => {
  const { asked, proxyPort } = await setUp(t, 403)
  const proxy = { url: new URL(`http://127.0.0.1:${String(proxyPort)}`), except: '' }
  const agent = createHttpsAgent(proxy, {})
  t.teardown(() => {
    agent.destroy()
  })
  for (const address of ['https://[2001:db8::7]:8443/', 'https://[2001:DB8:0:0::7]/']) {
    const called = new Promise((resolve, reject) => {
      https.get(address, { agent }, resolve).on('error', reject)
    })
    await t.rejects(called, { message: 'the proxy in HTTPS_PROXY responded with status 403' })
  }
  t.same(asked, ['[2001:db8::7]:8443', '[2001:db8::7]:443'])
})

void t.test('authorities are those of AWS_CA_BUNDLE, and of the system without it', async (t) => {
  const { aws } = await setUp(t)
  t.equal(await get(t, aws, { AWS_CA_BUNDLE: pki.caFile }), 'from AWS')
  await t.rejects(get(t, aws, {}), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  await t.rejects(createAwsAgent({ AWS_CA_BUNDLE: '/nowhere/ca.pem' }), { code: 'ENOENT' })
})

void t.test('the error names the proxy that refused, but not its password', async (t) => {
  const { aws, proxyPort } = await setUp(t, 407)
  const HTTPS_PROXY = `http://user:secret@127.0.0.1:${String(proxyPort)}`
  const error: unknown = await get(t, aws, { HTTPS_PROXY }).catch((thrown: unknown) => thrown)
  t.match(error, { message: 'the proxy in HTTPS_PROXY responded with status 407' })
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

void t.test('NO_PROXY with addresses, entry by entry', (t) => {
  for (const host of ['::1', '[::1]'])
    for (const entry of ['::1', '[::1]', '[::1]:443', '0:0:0:0:0:0:0:1', 'localhost,::1', '*'])
      t.ok(isDirect(host, 443, entry), `${host} ${entry}`)
  for (const entry of ['[::1]:8443', '::2', '1', ':1', '[::]', '::1:443', '127.0.0.1'])
    t.notOk(isDirect('::1', 443, entry), entry)
  for (const entry of ['2001:DB8::7', '[2001:db8:0::7]']) t.ok(isDirect('2001:db8::7', 443, entry))
  t.ok(isDirect('127.0.0.1', 443, '127.0.0.1:443'))
  t.notOk(isDirect('127.0.0.1', 443, '0.0.1'), 'an address has no subdomains')
  t.end()
})
