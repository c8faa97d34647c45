/**
 * Tests which key exchange group the listeners negotiate: the hybrid group if OpenSSL supports it. `npm run check` runs
 * these tests on Node.js 20 (without support) and Node.js 24 (with support).
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:tls'
import t from 'tap'
import { groupOf } from '../../src/core/tls-groups.ts'
import { builtInAuthorities } from '../../src/tools/doctor/authorities.ts'
import { checkTls } from '../../src/tools/doctor/tls.ts'
import { pki, startWithAdmin } from '../support/admin.ts'
import { sessionFor } from '../support/broken-proxy.ts'

const [major = 0, minor = 0] = process.versions.openssl.split('.').map(Number)
const HYBRID = 'X25519MLKEM768'
const BEST = major > 3 || (major === 3 && minor >= 5) ? HYBRID : 'X25519'

/** Returns the negotiated group for a client that offers these groups. */
async function agree(port: number, protocol: string, groups: string): Promise<string> {
  const socket = connect({
    ...{ port, host: '127.0.0.1', servername: 'localhost', ca: readFileSync(pki.caFile) },
    ...{ ALPNProtocols: [protocol], minVersion: 'TLSv1.3', ecdhCurve: groups },
  })
  await new Promise((resolve, reject) => socket.on('secureConnect', resolve).on('error', reject))
  const group = groupOf(socket)
  // The server counts a handshake only once its own side of the handshake has finished.
  socket.resume().end()
  await once(socket, 'close')
  return group
}

void t.test('both listeners negotiate the best group, and others', async (t) => {
  const server = await startWithAdmin(t)
  const adminPort = server.running.admin?.port ?? 0
  // OpenSSL prefers the group for which the client sent a key share: the first in the client's list.
  const everything = BEST === HYBRID ? `${HYBRID}:X25519:P-256:P-384` : 'X25519:P-256:P-384'
  for (const [port, protocol] of [
    [server.port, 'h2'],
    [server.port, 'http/1.1'],
    [adminPort, 'http/1.1'],
  ] as const) {
    t.equal(await agree(port, protocol, everything), BEST)
    for (const one of ['P-256', 'P-384']) t.equal(await agree(port, protocol, one), one)
    await t.rejects(agree(port, protocol, 'P-521'))
  }
  const metrics = await server.running.metrics()
  const counted = new RegExp(`handshakes_total\\{version="TLSv1.3",group="${BEST}"\\} 2$`, 'm')
  t.match(metrics, counted, 'one for each version of HTTP')
  t.match(metrics, /handshakes_total\{version="TLSv1.3",group="P-384"\} 2$/m)

  const session = sessionFor(server, server.port)
  t.teardown(() => {
    session.close()
  })
  const findings = await checkTls(session, builtInAuthorities())
  const found = findings.find(({ check }) => check === 'tls-group')
  t.match(found, { verdict: 'ok' })
  t.match(JSON.stringify(found), BEST)
})
