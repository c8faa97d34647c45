/**
 * Fuzzes the remaining parsers of outside input: names, PROXY headers, XFCC, console files, key
 * references, PEM.
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { serviceOf } from '../../src/core/partitions.ts'
import { parseRef } from '../../src/keys/pkcs11/wire/calls.ts'
import { parseProxyHeader } from '../../src/server/trusted-proxy/connection.ts'
import {
  parseCommonName,
  parseXfccSubject,
} from '../../src/server/trusted-proxy/forwarded-certificate.ts'
import { UsageError } from '../../src/terminal/command.ts'
import { parseConsoleFile } from '../../src/terminal/files.ts'
import { isDirect } from '../../src/tools/register/network.ts'
import { damaged, runs } from '../support/fuzz.ts'

const NAME = 'CN=cks.kms.eu-west-1.amazonaws.com,OU=KMS\\, AWS,O=Amazon'
const XFCC = `By=spiffe://x;Hash=00ff;Subject="${NAME.replaceAll('\\', '\\\\')}";URI=;DNS=a.example`
const CONSOLE = JSON.stringify({
  XksProxyUriPath: '/demo/kms/xks/v1',
  XksProxyAuthenticationCredential: { AccessKeyId: 'A'.repeat(20), RawSecretAccessKey: 'not-told' },
})
const PROXY = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000201c6336407d43101bb160301', 'hex')

const texts = (good: string) =>
  fc.oneof(damaged(good), fc.string({ unit: 'binary', maxLength: 80 }))

void t.test('names of certificates, bare and forwarded', (t) => {
  fc.assert(
    fc.property(texts(NAME), texts(XFCC), (name, header) => {
      for (const found of [parseCommonName(name), parseXfccSubject(header)])
        if (found !== undefined && typeof found !== 'string') return false
      return true
    }),
    runs(2000),
  )
  t.equal(parseCommonName(NAME), 'cks.kms.eu-west-1.amazonaws.com')
  t.end()
})

void t.test('headers of the PROXY protocol', (t) => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 60 }).map((raw) => Buffer.from(raw)),
    fc.array(fc.tuple(fc.nat(PROXY.length - 1), fc.nat(255)), { maxLength: 3 }).map((edits) => {
      const damagedBytes = Buffer.from(PROXY)
      for (const [at, value] of edits) damagedBytes[at] = value
      return damagedBytes
    }),
  )
  fc.assert(
    fc.property(bytes, fc.nat(60), (whole, length) => {
      const result = parseProxyHeader(whole.subarray(0, length))
      return typeof result === 'string' || typeof result === 'object'
    }),
    runs(2000),
  )
  t.end()
})

void t.test('files for the console, whose secret is in no error', (t) => {
  fc.assert(
    fc.property(texts(CONSOLE), (text) => {
      try {
        parseConsoleFile(text)
        return true
      } catch (error) {
        return error instanceof UsageError && !error.message.includes('not-told')
      }
    }),
    runs(2000),
  )
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
