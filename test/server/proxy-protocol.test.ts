/** Tests the PROXY protocol with a real HAProxy, and with headers that no correct load balancer sends. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { startHaproxy } from '../support/balancer.ts'
import { eventually, KEY_ID, startTestServer, type TestServer } from '../support/server.ts'

const HEADER = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336407d43101bb', 'hex')
const proxyProtocol = { peers: ['127.0.0.1', 'fd00::/8'] }

/** Opens TLS over a connection that starts with the bytes `first`. Resolves once the handshake has completed. */
async function shake(server: TestServer, first: Buffer, localAddress = '127.0.0.1'): Promise<void> {
  const tcp = net.connect({ port: server.port, host: '127.0.0.1', localAddress })
  tcp.write(first)
  const socket = tls.connect({
    socket: tcp,
    servername: 'localhost',
    ca: readFileSync(server.pki.caFile),
  })
  try {
    await once(socket, 'secureConnect')
  } finally {
    socket.destroy()
  }
}

void t.test(
  "HAProxy's PROXY header: the log has the caller, and a large request is complete",
  async (t) => {
    const server = await startTestServer(t, { config: { listener: { proxyProtocol } } })
    const { port } = await startHaproxy(
      t,
      (port) => `
listen xks
  mode tcp
  bind 127.0.0.1:${String(port)}
  server latchkey 127.0.0.1:${String(server.port)} send-proxy-v2
`,
    )
    const client = server.client({
      endpoint: `https://localhost:${String(port)}`,
      localAddress: '127.0.0.9',
    })
    const plaintext = Buffer.alloc(4300, 7)
    const sealed = await client.encrypt(KEY_ID, {
      plaintext,
      aad: Buffer.alloc(8192, 1),
      cdiv: true,
    })
    t.equal(sealed.status, 200)
    const lines = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'request')
    t.match(lines, [{ status: 200, remoteAddress: '127.0.0.9' }])
  },
)

void t.test('a header in pieces, or in one packet with TLS, is parsed', async (t) => {
  const server = await startTestServer(t, { config: { listener: { proxyProtocol } } })
  await t.resolves(shake(server, HEADER))
  const tcp = net.connect({ port: server.port, host: '127.0.0.1' })
  await once(tcp, 'connect')
  tcp.setNoDelay(true)
  for (const byte of HEADER) {
    tcp.write(Buffer.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  const socket = tls.connect({
    socket: tcp,
    servername: 'localhost',
    ca: readFileSync(server.pki.caFile),
  })
  await t.resolves(once(socket, 'secureConnect'))
  socket.destroy()
})

void t.test('a trusted peer without the header is refused, and the reason is logged', async (t) => {
  const server = await startTestServer(t, { config: { listener: { proxyProtocol } } })
  await t.rejects(shake(server, Buffer.alloc(0)))
  const log = await server.stopAndReadLog()
  t.match(
    log.filter(({ msg }) => msg === 'connection refused'),
    [{ reason: 'PROXY_HEADER', remoteAddress: '127.0.0.1' }],
  )
})

void t.test('a trusted peer that never sends the header is disconnected', async (t) => {
  const server = await startTestServer(t, {
    config: { listener: { proxyProtocol, timeouts: { tlsHandshake: '300ms' } } },
  })
  const tcp = net.connect({ port: server.port, host: '127.0.0.1' })
  tcp.write(HEADER.subarray(0, 20))
  tcp.resume()
  await once(tcp, 'close')
  t.pass('the server closed it')
})

void t.test(
  'other peers are not trusted: their header is invalid TLS, and without one they connect directly',
  async (t) => {
    const server = await startTestServer(t, { config: { listener: { proxyProtocol } } })
    await t.rejects(shake(server, HEADER, '127.0.0.8'))
    await shake(server, Buffer.alloc(0), '127.0.0.8')
    const client = server.client({ localAddress: '127.0.0.8' })
    t.equal((await client.getHealthStatus()).status, 200)
    await eventually(async () => {
      const log = readFileSync(server.logFile, 'utf8')
      return Promise.resolve(log.includes('"remoteAddress":"127.0.0.8"'))
    })
    t.notMatch(readFileSync(server.logFile, 'utf8'), '192.0.2.1', 'a forged source is nowhere')
  },
)
