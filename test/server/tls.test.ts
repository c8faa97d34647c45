/** Tests what the listener accepts and rejects in a TLS handshake. */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer, getCiphers, type SecureVersion } from 'node:tls'
import t, { type Test } from 'tap'
import { handshake, issueEcCertificate } from '../support/handshake.ts'
import { testPki } from '../support/pki.ts'
import { startTestServer } from '../support/server.ts'
import { openWire, signedRequest } from '../support/wire.ts'

/** Cipher suites required by XKS 1.0.3, "API content type". */
const TLS_1_2_SUITES = { rsa: 'ECDHE-RSA-AES256-GCM-SHA384', ec: 'ECDHE-ECDSA-AES256-GCM-SHA384' }
const TLS_1_3_SUITES = ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']
const OURS: readonly string[] = [...Object.values(TLS_1_2_SUITES), ...TLS_1_3_SUITES]

/** Cipher list that permits everything: at security level 0, OpenSSL itself permits every legacy option. */
const ANYTHING = 'ALL:COMPLEMENTOFALL:@SECLEVEL=0'

const pki = await testPki()
const files = { rsa: pki, ec: await issueEcCertificate(pki) }

async function startWith(t: Test, kind: 'rsa' | 'ec', listener: Record<string, unknown> = {}) {
  const { certificateFile, privateKeyFile } = files[kind]
  return startTestServer(t, {
    config: {
      listener: { tls: { certificate: certificateFile, privateKey: privateKeyFile }, ...listener },
    },
  })
}

/** Starts a TLS server that accepts everything, to show that the client could negotiate what our server rejects. */
async function startPermissive(t: Test, kind: 'rsa' | 'ec'): Promise<number> {
  const { certificateFile, privateKeyFile } = files[kind]
  const server = createServer({
    cert: await readFile(certificateFile),
    key: await readFile(privateKeyFile),
    minVersion: 'TLSv1',
    ciphers: `${ANYTHING}:${getCiphers()
      .filter((name) => name.startsWith('tls_'))
      .join(':')
      .toUpperCase()}`,
    dhparam: 'auto',
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const only = (version: SecureVersion, ciphers: string) => ({
  minVersion: version,
  maxVersion: version,
  ciphers,
})

for (const kind of ['rsa', 'ec'] as const) {
  void t.test(`[NET-3] TLS 1.0 and 1.1 are refused (${kind})`, async (t) => {
    const server = await startWith(t, kind)
    const permissive = await startPermissive(t, kind)
    for (const version of ['TLSv1', 'TLSv1.1'] as const) {
      const old = only(version, ANYTHING)
      t.match(await handshake(permissive, old), { agreed: true, protocol: version })
      t.same(await handshake(server.port, old), {
        agreed: false,
        code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
      })
    }
  })

  void t.test(`[NET-3] TLS 1.2 uses the specification's suite (${kind})`, async (t) => {
    const server = await startWith(t, kind)
    const cipher = TLS_1_2_SUITES[kind]
    t.match(await handshake(server.port, only('TLSv1.2', cipher)), {
      agreed: true,
      protocol: 'TLSv1.2',
      cipher,
    })
    t.match(await handshake(server.port, only('TLSv1.2', ANYTHING)), { agreed: true, cipher })
  })

  void t.test(`[NET-3] TLS 1.3 has its two suites (${kind})`, async (t) => {
    const server = await startWith(t, kind)
    for (const cipher of TLS_1_3_SUITES) {
      t.match(await handshake(server.port, only('TLSv1.3', cipher)), {
        agreed: true,
        protocol: 'TLSv1.3',
        cipher,
      })
    }
    t.match(await handshake(server.port, {}), { protocol: 'TLSv1.3', cipher: TLS_1_3_SUITES[0] })
  })

  void t.test(`[NET-3] no other suite is accepted (${kind})`, async (t) => {
    const server = await startWith(t, kind)
    const permissive = await startPermissive(t, kind)
    const refused: string[] = []
    for (const name of getCiphers().map((lower) => lower.toUpperCase())) {
      if (OURS.includes(name)) continue
      const isNew = name.startsWith('TLS_')
      const options = only(isNew ? 'TLSv1.3' : 'TLSv1.2', isNew ? name : `${name}:@SECLEVEL=0`)
      const could = await handshake(permissive, options).catch(() => undefined)
      // If this OpenSSL cannot negotiate the suite at all, a rejection proves nothing.
      if (could?.agreed !== true) continue
      const answer = await handshake(server.port, options)
      t.match(answer, { agreed: false, code: /ALERT_HANDSHAKE_FAILURE$/ }, name)
      refused.push(name)
    }
    t.ok(refused.includes('TLS_AES_128_GCM_SHA256'))
    t.ok(
      refused.includes(
        kind === 'rsa' ? 'ECDHE-RSA-AES128-GCM-SHA256' : 'ECDHE-ECDSA-AES128-GCM-SHA256',
      ),
    )
    if (kind === 'rsa') t.ok(refused.includes('AES256-SHA'), 'static RSA with CBC')
    t.ok(refused.length >= 8, `${String(refused.length)} suites were tried`)
  })

  void t.test(`[NET-3] a signed call succeeds with each suite (${kind})`, async (t) => {
    const server = await startWith(t, kind)
    const ca = kind === 'rsa' ? {} : { ca: await readFile(files.ec.certificateFile) }
    for (const options of [
      only('TLSv1.2', TLS_1_2_SUITES[kind]),
      ...TLS_1_3_SUITES.map((suite) => only('TLSv1.3', suite)),
    ]) {
      const wire = await openWire(server, { ...options, ...ca })
      wire.write(signedRequest(server, '/health', healthBody))
      t.equal((await wire.answer())?.status, 200, options.ciphers)
      wire.destroy()
    }
  })
}

const healthBody = { requestMetadata: { kmsRequestId: 'r', kmsOperation: 'KmsHealthCheck' } }

void t.test('[NET-2] ALPN selects HTTP/2 if offered, otherwise HTTP/1.1', async (t) => {
  const { port } = await startTestServer(t)
  const alpnOf = async (offered: string[]) => {
    const agreed = await handshake(port, { ALPNProtocols: offered })
    return agreed.agreed ? agreed.alpn : agreed.code
  }
  t.equal(await alpnOf(['h2']), 'h2')
  t.equal(await alpnOf(['h2', 'http/1.1']), 'h2')
  t.equal(await alpnOf(['http/1.1', 'h2']), 'h2', 'the order is the one of the server')
  t.equal(await alpnOf(['http/1.1']), 'http/1.1')
  t.equal(await alpnOf(['spdy/3', 'http/1.1']), 'http/1.1')
  t.equal(await alpnOf(['spdy/3']), 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL')
})

void t.test('[NET-2] without ALPN, the connection uses HTTP/1.1', async (t) => {
  const server = await startTestServer(t)
  const wire = await openWire(server, { ALPNProtocols: [] })
  t.equal(wire.socket.alpnProtocol, false)
  wire.write(signedRequest(server, '/health', healthBody))
  t.equal((await wire.answer())?.status, 200)
  wire.destroy()
})

void t.test('[NET-2] http2: false leaves only HTTP/1.1', async (t) => {
  const server = await startTestServer(t, { config: { listener: { http2: false } } })
  const agreed = await handshake(server.port, { ALPNProtocols: ['h2', 'http/1.1'] })
  t.match(agreed, { agreed: true, alpn: 'http/1.1' })
  t.match(await handshake(server.port, { ALPNProtocols: ['h2'] }), {
    agreed: false,
    code: 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL',
  })
  const wire = await openWire(server, { ALPNProtocols: ['h2', 'http/1.1'] })
  wire.write(signedRequest(server, '/health', healthBody))
  t.equal((await wire.answer())?.status, 200)
  wire.destroy()
})

async function startError(t: Test, tls: Record<string, string>) {
  const server = await startTestServer(t, {
    stopped: true,
    config: { listener: { tls } },
  })
  try {
    await server.start()
  } catch (error) {
    return error as NodeJS.ErrnoException
  }
  throw new Error('it started')
}

void t.test('[NET-3] a mismatched certificate and key are reported at startup', async (t) => {
  const other = await pki.issue('other', { commonName: 'localhost', usage: 'server' })
  const own = { certificate: pki.certificateFile, privateKey: pki.privateKeyFile }
  const key = await readFile(pki.privateKeyFile, 'utf8')
  const secretPart = key.split('\n')[3] ?? ''
  const rows: readonly [string, Record<string, string>, string, RegExp][] = [
    [
      'another key',
      { ...own, privateKey: other.privateKeyFile },
      'CERTIFICATE_MISMATCH',
      /other\.key does not match the first certificate in .*server\.crt/,
    ],
    [
      'a key of another kind',
      { ...own, privateKey: files.ec.privateKeyFile },
      'CERTIFICATE_MISMATCH',
      /server-ec\.key/,
    ],
    [
      'no certificate file',
      { ...own, certificate: '/nowhere/tls.crt' },
      'CERTIFICATE_UNREADABLE',
      /^\/nowhere\/tls\.crt: cannot be read$/,
    ],
    [
      'no key file',
      { ...own, privateKey: '/nowhere/tls.key' },
      'CERTIFICATE_UNREADABLE',
      /^\/nowhere\/tls\.key: cannot be read$/,
    ],
    [
      'the files swapped',
      { certificate: own.privateKey, privateKey: own.certificate },
      'CERTIFICATE_UNREADABLE',
      /server\.key: expected a PEM certificate$/,
    ],
    [
      'a certificate as key',
      { ...own, privateKey: own.certificate },
      'CERTIFICATE_UNREADABLE',
      /server\.crt: expected a PEM private key$/,
    ],
  ]
  t.ok(secretPart.length > 40)
  for (const [name, tls, code, message] of rows) {
    const error = await startError(t, tls)
    t.match(error, { name: 'TlsError', code, message }, name)
    t.notOk(error.message.includes(secretPart), 'the key is not quoted')
  }
})

void t.test(
  '[NET-3] a certificate that is not currently valid is reported at startup',
  async (t) => {
    const day = 86_400_000
    const rows = [
      [
        'expired',
        { notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) },
      ],
      [
        'early',
        { notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) },
      ],
    ] as const
    for (const [name, validity] of rows) {
      const stale = await pki.issue(name, { commonName: 'localhost', usage: 'server', ...validity })
      const error = await startError(t, {
        certificate: stale.certificateFile,
        privateKey: stale.privateKeyFile,
      })
      t.match(error, { name: 'TlsError', code: 'CERTIFICATE_EXPIRED' }, name)
    }
  },
)
