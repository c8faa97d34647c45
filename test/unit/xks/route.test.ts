/** Tests routing raw request targets to operations. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { isUriPath, parseTarget } from '../../../src/xks/route.ts'

const ROOT = '/kms/xks/v1'

void t.test('[API-1] the four operations, with and without a prefix', (t) => {
  t.same(parseTarget(`/demo${ROOT}/health`), {
    uriPath: `/demo${ROOT}`,
    operation: 'GetHealthStatus',
  })
  t.same(parseTarget(`${ROOT}/keys/k/metadata`), {
    uriPath: ROOT,
    operation: 'GetKeyMetadata',
    keyId: 'k',
  })
  t.match(parseTarget(`/a/b-C_9${ROOT}/keys/k.1/encrypt`), { operation: 'Encrypt', keyId: 'k.1' })
  t.match(parseTarget(`/a${ROOT}/keys/keys/decrypt`), { operation: 'Decrypt', keyId: 'keys' })
  t.match(parseTarget(`/a${ROOT}/keys/health/encrypt`), { operation: 'Encrypt', keyId: 'health' })
  t.equal(parseTarget(`${ROOT}/keys/${'k'.repeat(128)}/encrypt`)?.keyId?.length, 128)
  t.end()
})

void t.test('[API-4] [API-7] every other path is refused', (t) => {
  for (const target of [
    '',
    '/',
    '*',
    ROOT,
    `${ROOT}/`,
    `${ROOT}/health/`,
    `${ROOT}/health?x=1`,
    `${ROOT}/health#`,
    `/${ROOT}/health`,
    `//demo${ROOT}/health`,
    `/demo/${ROOT}/health`,
    `/demo${ROOT}//health`,
    `/demo/../demo${ROOT}/health`,
    `/./demo${ROOT}/health`,
    `/demo.v1${ROOT}/health`,
    `/de%6do${ROOT}/health`,
    `/demo;x=1${ROOT}/health`,
    `/demo\\${ROOT}/health`,
    `https://host/demo${ROOT}/health`,
    `${ROOT}/keys//encrypt`,
    `${ROOT}/keys/../encrypt`,
    `${ROOT}/keys/./encrypt`,
    `${ROOT}/keys/a/b/encrypt`,
    `${ROOT}/keys/a/Encrypt`,
    `${ROOT}/keys/a/encrypt/`,
    `${ROOT}/keys/a%2e/encrypt`,
    `${ROOT}/Keys/a/encrypt`,
    `${ROOT}/keys/encrypt`,
    `/kms/xks/v2/keys/a/encrypt`,
    `/kms/xks/v1x/keys/a/encrypt`,
    `${ROOT}/keys/${'k'.repeat(129)}/encrypt`,
  ]) {
    t.equal(parseTarget(target), undefined, target.slice(0, 60))
  }
  t.end()
})

void t.test('[API-4] a URI path has at most 128 characters', (t) => {
  const longest = `/${'p'.repeat(128 - ROOT.length - 1)}${ROOT}`
  t.equal(longest.length, 128)
  t.equal(isUriPath(longest), true)
  t.equal(isUriPath(`/p${longest}`), false)
  t.end()
})

void t.test('an accepted target is re-encoded to the same path', (t) => {
  const name = fc.stringMatching(/^[A-Za-z0-9_.%/?-]{0,12}$/)
  fc.assert(
    fc.property(name, name, fc.constantFrom('metadata', 'encrypt', 'decrypt'), (prefix, id, op) => {
      const target = `/${prefix}${ROOT}/keys/${id}/${op}`
      const parsed = parseTarget(target)
      return parsed === undefined || `${parsed.uriPath}/keys/${parsed.keyId ?? ''}/${op}` === target
    }),
  )
  t.end()
})
