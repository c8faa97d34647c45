/**
 * Fuzzes the remaining parsers of external input: names, PROXY headers, XFCC, console files and key references. Each
 * seed must be accepted unmodified, and each parser must accept some inputs and reject others, so that an outdated seed
 * is noticed.
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { serviceOf } from '../../src/core/partitions.ts'
import { parseRef } from '../../src/keys/pkcs11/wire/calls.ts'
import { parseProxyHeader } from '../../src/server/trusted-proxy/connection.ts'
import {
  parseCommonName,
  parseXfccSubject,
} from '../../src/server/trusted-proxy/forwarded-certificate.ts'
import { UsageError } from '../../src/terminal/command.ts'
import { parseConsoleFile } from '../../src/terminal/files.ts'
import { isDirect } from '../../src/core/proxy.ts'
import { damaged, runs } from '../support/fuzz.ts'

const NAME = 'CN=cks.kms.eu-west-1.amazonaws.com,OU=KMS\\, AWS,O=Amazon'
const XFCC = `By=spiffe://x;Hash=00ff;Subject="${NAME.replaceAll('\\', '\\\\')}";Chain=""`
const CONSOLE = JSON.stringify({
  XksProxyUriPath: '/demo/kms/xks/v1',
  XksProxyAuthenticationCredential: { AccessKeyId: 'A'.repeat(20), RawSecretAccessKey: 'not-told' },
})
const PROXY = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336407d43101bb160301', 'hex')

const texts = (good: string) =>
  fc.oneof(damaged(good), fc.string({ unit: 'binary', maxLength: 80 }))

/** Counts accepted and rejected inputs, so that a test can check that both occurred. */
function counter() {
  const counts = { accepted: 0, refused: 0 }
  return {
    take(isAccepted: boolean) {
      counts[isAccepted ? 'accepted' : 'refused'] += 1
    },
    check(t: Test, what: string) {
      t.ok(counts.accepted >= 20 && counts.refused >= 20, `${what}: ${JSON.stringify(counts)}`)
    },
  }
}

/** Escapes special characters and non-ASCII bytes as OpenSSL does, following RFC 2253, section 2.4. */
function escapeValue(value: string): string {
  const bytes = [...Buffer.from(value)].map((byte) => {
    const character = String.fromCharCode(byte)
    if (byte < 0x20 || byte > 0x7e) return `\\${byte.toString(16).padStart(2, '0').toUpperCase()}`
    return ',+"\\<>;=#'.includes(character) ? `\\${character}` : character
  })
  return bytes.join('')
}

void t.test('certificate names, bare and forwarded', (t) => {
  const [names, headers] = [counter(), counter()]
  t.equal(parseCommonName(NAME), 'cks.kms.eu-west-1.amazonaws.com')
  t.equal(parseXfccSubject(XFCC), NAME.replaceAll('\\', '\\\\'))
  fc.assert(
    fc.property(texts(NAME), texts(XFCC), (name, header) => {
      const [commonName, subject] = [parseCommonName(name), parseXfccSubject(header)]
      names.take(commonName !== undefined)
      headers.take(subject !== undefined)
      // The parser must not return anything that is not in the input.
      const isNamed = commonName === undefined || /(?:^|[,+])(?:cn|2\.5\.4\.3)=/i.test(name)
      return isNamed && (subject === undefined || header.includes(`"${subject}"`))
    }),
    runs(2000),
  )
  names.check(t, 'names')
  headers.check(t, 'headers')
  t.end()
})

void t.test('every escaped common name is recovered, and a second one is rejected', (t) => {
  const value = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
  fc.assert(
    fc.property(value, value, (commonName, unit) => {
      const name = `OU=${escapeValue(unit)},CN=${escapeValue(commonName)}`
      if (parseCommonName(name) !== commonName) return false
      return parseCommonName(`${name}+CN=${escapeValue(unit)}`) === undefined
    }),
    runs(1000),
  )
  t.end()
})

void t.test('PROXY protocol headers', (t) => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 60 }).map((raw) => Buffer.from(raw)),
    fc.array(fc.tuple(fc.nat(PROXY.length - 1), fc.nat(255)), { maxLength: 3 }).map((edits) => {
      const damagedBytes = Buffer.from(PROXY)
      for (const [at, value] of edits) damagedBytes[at] = value
      return damagedBytes
    }),
  )
  const seen = counter()
  t.match(parseProxyHeader(PROXY), { length: 28, source: { address: '192.0.2.1', port: 54321 } })
  fc.assert(
    fc.property(bytes, fc.nat(60), (whole, length) => {
      const data = whole.subarray(0, length)
      const result = parseProxyHeader(data)
      seen.take(typeof result === 'object')
      if (typeof result !== 'object') return true
      // Bytes after a complete header must not affect the result.
      const [exact, more] = [data.subarray(0, result.length), Buffer.concat([data, PROXY])]
      const isSame = [exact, more].every(
        (one) => JSON.stringify(parseProxyHeader(one)) === JSON.stringify(result),
      )
      const shorter = parseProxyHeader(data.subarray(0, result.length - 1))
      return isSame && result.length <= data.length && shorter === 'incomplete'
    }),
    runs(2000),
  )
  seen.check(t, 'headers')
  t.end()
})

void t.test('a PROXY header is decoded to what was encoded', (t) => {
  const input = fc.record({
    address: fc.ipV4(),
    port: fc.nat(65_535),
    extensions: fc.uint8Array({ maxLength: 200 }),
  })
  fc.assert(
    fc.property(input, ({ address, port, extensions }) => {
      const header = Buffer.alloc(28 + extensions.length)
      PROXY.copy(header, 0, 0, 28)
      header.writeUInt16BE(12 + extensions.length, 14)
      header.set(address.split('.').map(Number), 16)
      header.writeUInt16BE(port, 24)
      header.set(extensions, 28)
      const result = parseProxyHeader(header)
      return (
        typeof result === 'object' &&
        result.length === header.length &&
        result.source?.address === address &&
        result.source.port === port
      )
    }),
    runs(1000),
  )
  t.end()
})

void t.test('console files, whose secret appears in no error', (t) => {
  const seen = counter()
  t.doesNotThrow(() => parseConsoleFile(CONSOLE))
  fc.assert(
    fc.property(texts(CONSOLE), (text) => {
      try {
        parseConsoleFile(text)
        seen.take(true)
        return true
      } catch (error) {
        seen.take(false)
        return error instanceof UsageError && !error.message.includes('not-told')
      }
    }),
    runs(2000),
  )
  seen.check(t, 'files')
  t.end()
})

void t.test('key references, service principals and NO_PROXY', (t) => {
  fc.assert(
    fc.property(texts('payroll@2'), texts('ec2.amazonaws.com.cn'), (ref, principal) => {
      const { name, version } = parseRef(ref)
      const service = serviceOf(principal)
      isDirect('kms.eu-west-1.amazonaws.com', 443, principal)
      return ref.startsWith(name) && version >= 1 && service?.includes('.') !== true
    }),
    runs(2000),
  )
  t.end()
})
