/** Tests connections with a clock that the test controls. */
// SPDX-License-Identifier: Apache-2.0
import { EventEmitter } from 'node:events'
import type { TLSSocket } from 'node:tls'
import type { IncomingMessage } from 'node:http'
import t, { type Test } from 'tap'
import { createConnections } from '../../../src/server/connection.ts'
import { FakeClock } from '../../support/fake-clock.ts'

/** A fake socket that needs no network. */
class Socket extends EventEmitter {
  readonly remoteAddress = '192.0.2.1'
  end = 'open'
  destroySoon() {
    this.end = 'closed'
  }
  destroy() {
    this.end = 'cut'
    this.emit('close')
  }
}

function create(t: Test, maxAgeMs = 0) {
  const clock = new FakeClock()
  const untrusted: unknown[] = []
  const connections = createConnections({
    ...{ clock, maxRequests: 0, maxAgeMs },
    onUntrusted: (address) => untrusted.push(address),
  })
  t.teardown(connections.stop)
  const open = (trustedUntil?: number, isFromTerminator = false) => {
    const socket = new Socket()
    const tlsSocket = socket as unknown as TLSSocket
    connections.open(tlsSocket, { tlsMs: 1, isFromTerminator, trustedUntil })
    return {
      socket,
      connection: connections.of({ socket: tlsSocket } as unknown as IncomingMessage),
    }
  }
  return { clock, untrusted, connections, open }
}

void t.test('an idle connection is cut when its certificate expires, and reported once', (t) => {
  const { clock, untrusted, connections, open } = create(t)
  const brief = open(clock.now() + 10_000)
  const bare = open()
  clock.advance(9999)
  connections.sweep()
  t.equal(brief.socket.end, 'open')
  t.ok(connections.mayAsk(brief.connection))
  clock.advance(1)
  connections.sweep()
  connections.sweep()
  t.equal(brief.socket.end, 'cut')
  t.equal(bare.socket.end, 'open')
  t.same(untrusted, ['192.0.2.1'])
  t.end()
})

void t.test(
  'a connection with a request in progress ends with its response, and accepts no further request',
  (t) => {
    const { clock, connections, open } = create(t)
    const [answering, asking] = [open(clock.now() + 10), open(clock.now() + 10)]
    connections.begin(answering.connection)
    connections.begin(asking.connection)
    clock.advance(10)
    connections.sweep()
    t.equal(answering.socket.end, 'open')
    t.ok(connections.end(answering.connection), 'its response is the last')
    t.notOk(connections.mayAsk(asking.connection))
    t.equal(asking.socket.end, 'cut')
    t.end()
  },
)

void t.test('setting the wall clock back does not restore trust in a cut connection', (t) => {
  const { clock, connections, open } = create(t)
  const { connection } = open(clock.now() + 10)
  clock.advance(10)
  t.notOk(connections.mayAsk(connection))
  clock.jumpWallTime(-1000)
  t.notOk(connections.mayAsk(connection))
  t.end()
})

void t.test(
  'only connections that presented a certificate lose trust, on one side of a terminator',
  (t) => {
    const { clock, connections, open } = create(t)
    const later = clock.now() + 1_000_000
    const [direct, terminator, bare] = [open(later), open(later, true), open()]
    connections.distrust(true)
    t.same([direct.socket.end, terminator.socket.end, bare.socket.end], ['open', 'cut', 'open'])
    connections.distrust(false)
    t.same([direct.socket.end, bare.socket.end], ['cut', 'open'])
    t.end()
  },
)

void t.test(
  'a connection past its maximum age ends with a response, or when it is idle for five seconds',
  (t) => {
    const { clock, connections, open } = create(t, 1000)
    const [used, idle] = [open(), open()]
    connections.begin(used.connection)
    clock.advance(1250)
    connections.sweep()
    t.equal(idle.socket.end, 'open')
    t.ok(connections.end(used.connection))
    clock.advance(3750)
    connections.sweep()
    t.equal(idle.socket.end, 'closed')
    t.end()
  },
)
