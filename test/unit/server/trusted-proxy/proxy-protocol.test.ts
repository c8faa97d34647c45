/** Tests PROXY protocol headers: valid ones, and ones that no load balancer sends. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { parseProxyHeader } from '../../../../src/server/trusted-proxy/connection.ts'

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const HELLO = Buffer.from('160301', 'hex')

function header(command: string, family: string, rest: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(rest.length)
  return Buffer.concat([Buffer.from(SIGNATURE + command + family, 'hex'), length, rest])
}

const tcp4 = Buffer.from('c0000201' + 'c6336407' + 'd431' + '01bb', 'hex')
const tcp6 = Buffer.from(
  '20010db8000000000000000000000001' + '20010db8000000000000000000000002' + 'd43101bb',
  'hex',
)
const extension = Buffer.from('ea000401767063', 'hex')

void t.test('source address and port, of both families', (t) => {
  t.strictSame(parseProxyHeader(Buffer.concat([header('21', '11', tcp4), HELLO])), {
    length: 28,
    source: { address: '192.0.2.1', port: 54_321 },
  })
  t.strictSame(parseProxyHeader(Buffer.concat([header('21', '21', tcp6), HELLO])), {
    length: 52,
    source: { address: '2001:db8:0:0:0:0:0:1', port: 54_321 },
  })
  t.end()
})

void t.test('extensions, such as those of a Network Load Balancer, are passed over', (t) => {
  t.strictSame(parseProxyHeader(header('21', '11', Buffer.concat([tcp4, extension]))), {
    length: 35,
    source: { address: '192.0.2.1', port: 54_321 },
  })
  t.end()
})

void t.test(
  "a load balancer's own check has no source address, and neither have protocols other than TCP",
  (t) => {
    t.strictSame(parseProxyHeader(header('20', '00', Buffer.alloc(0))), { length: 16 })
    t.strictSame(parseProxyHeader(header('20', '11', tcp4)), { length: 28 })
    t.strictSame(parseProxyHeader(header('21', '31', Buffer.alloc(216))), { length: 232 })
    t.end()
  },
)

void t.test('an incomplete header is waited for, and an invalid one is not', (t) => {
  const whole = header('21', '11', Buffer.concat([tcp4, extension]))
  for (let length = 0; length < whole.length; length++) {
    t.equal(parseProxyHeader(whole.subarray(0, length)), 'incomplete', `${String(length)} bytes`)
  }
  for (const [what, bytes] of [
    ['TLS at once', HELLO],
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.7 54321 443\r\n')],
    ['another version', header('31', '11', tcp4)],
    ['an unknown command', header('2f', '11', tcp4)],
    ['too short for its addresses', header('21', '11', tcp4.subarray(1))],
    ['longer than any', header('21', '11', Buffer.alloc(2048))],
  ] as const) {
    t.equal(parseProxyHeader(bytes), 'invalid', what)
  }
  t.end()
})

void t.test('no input makes it throw or read past the end', (t) => {
  const bytes = fc.uint8Array({ maxLength: 120 })
  fc.assert(
    fc.property(bytes, fc.boolean(), (tail, isSigned) => {
      const data = Buffer.concat([isSigned ? Buffer.from(SIGNATURE, 'hex') : Buffer.alloc(0), tail])
      const parsed = parseProxyHeader(data)
      return typeof parsed === 'string' || parsed.length <= data.length
    }),
    { numRuns: 2000 },
  )
  t.end()
})
