/** Tests reading the key exchange group, from both ends of a real handshake and from bytes that are not a session. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import tls from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { groupOf, parseGroup, tlsGroups } from '../../../src/core/tls-groups.ts'
import { runs } from '../../support/fuzz.ts'
import { testPki } from '../../support/pki.ts'

const pki = await testPki()

async function handshake(version: tls.SecureVersion, offered: string) {
  const server = tls.createServer({
    cert: readFileSync(pki.certificateFile),
    key: readFileSync(pki.privateKeyFile),
    ecdhCurve: tlsGroups(),
  })
  const atServer = new Promise<string>((resolve) => {
    server.once('secureConnection', (socket) => {
      resolve(groupOf(socket))
      socket.resume()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const socket = tls.connect({
    ...{ port: (server.address() as AddressInfo).port, host: '127.0.0.1' },
    ...{ ca: readFileSync(pki.caFile), servername: 'localhost' },
    ...{ minVersion: version, maxVersion: version, ecdhCurve: offered },
  })
  await new Promise((resolve, reject) => socket.on('secureConnect', resolve).on('error', reject))
  const atClient = groupOf(socket)
  const both = [await atServer, atClient]
  socket.destroy()
  server.close()
  return both
}

void t.test('the group that both agreed on is seen on both sides', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const group of ['X25519', 'P-256', 'P-384'])
      t.same(await handshake(version, group), [group, group], `${version} ${group}`)
  }
  const [first = ''] = tlsGroups().split(':')
  t.same(await handshake('TLSv1.3', tlsGroups()), [first, first], 'the preferred group is used')
  const [major = 0, minor = 0] = process.versions.openssl.split('.').map(Number)
  t.equal(first === 'X25519MLKEM768', major > 3 || (major === 3 && minor >= 5))
})

void t.test('bytes that are not a session have no group', (t) => {
  t.equal(groupOf({ getSession: () => undefined }), 'unknown')
  t.equal(groupOf({ getSession: () => Buffer.from('3005b30302017f', 'hex') }), '0x7f')
  for (const hex of ['', '30', '3000', '3180', '30840fffffff', '3005b303020800', '3003b3010200'])
    t.equal(parseGroup(Buffer.from(hex, 'hex')), undefined, hex)
  const named = (length: number) =>
    Buffer.concat([
      Buffer.from('\0nodejs:tls:session:1\0'),
      Buffer.from([0, length]),
      Buffer.from('localhost'),
      Buffer.from('3005b30302017f', 'hex'),
    ])
  t.equal(parseGroup(named(9)), 0x7f, 'as Node.js 24 names a session of a client')
  for (const length of [0, 8, 10, 16, 255]) t.equal(parseGroup(named(length)), undefined)
  t.equal(parseGroup(named(9).subarray(0, 22)), undefined)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, isSequence) => {
      const buffer = Buffer.from(isSequence ? [0x30, bytes.length, ...bytes] : bytes)
      const group = parseGroup(buffer)
      return group === undefined || Number.isSafeInteger(group)
    }),
    runs(2000),
  )
  t.end()
})
