/** Tests peers given as addresses or networks, in every form in which Node.js reports an address. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createIsPeer } from '../../../../src/server/trusted-proxy/peers.ts'

void t.test('addresses and networks, of both families', (t) => {
  const isPeer = createIsPeer(['192.0.2.7', '10.1.0.0/16', 'fd00::/8'])
  for (const peer of ['192.0.2.7', '10.1.255.1', '::ffff:10.1.2.3', 'fd12::1'])
    t.ok(isPeer(peer), peer)
  for (const other of ['192.0.2.8', '10.2.0.1', '::ffff:10.2.2.3', 'fe80::1', '', 'localhost'])
    t.notOk(isPeer(other), other)
  t.notOk(isPeer(undefined), 'a connection that is gone')
  t.notOk(createIsPeer([])('127.0.0.1'), 'nobody is named')
  t.end()
})
