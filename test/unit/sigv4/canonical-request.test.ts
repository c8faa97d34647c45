/** Tests the canonical request and the string to sign against the specification's Appendix A. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { canonicalRequest, stringToSign } from '../../../src/sigv4/signed-headers.ts'
import { sha256 } from '../../support/sigv4-signer.ts'

void t.test('the canonical request of an Encrypt', (t) => {
  t.equal(
    canonicalRequest({
      method: 'POST',
      canonicalUri: '/demo/kms/xks/v1/keys/k/encrypt',
      canonicalQuery: '',
      headers: [
        ['host', 'localhost:8443'],
        ['x-amz-date', '20260115T120000Z'],
      ],
      bodyHash: sha256('{}'),
    }),
    [
      'POST',
      '/demo/kms/xks/v1/keys/k/encrypt',
      '',
      'host:localhost:8443',
      'x-amz-date:20260115T120000Z',
      '',
      'host;x-amz-date',
      '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
    ].join('\n'),
  )
  t.end()
})

void t.test("the string to sign of AWS's published example", (t) => {
  const scope = { date: '20150830', region: 'us-east-1', service: 'iam' }
  const canonical = [
    'GET',
    '/',
    'Action=ListUsers&Version=2010-05-08',
    'content-type:application/x-www-form-urlencoded; charset=utf-8',
    'host:iam.amazonaws.com',
    'x-amz-date:20150830T123600Z',
    '',
    'content-type;host;x-amz-date',
    sha256(''),
  ].join('\n')
  t.equal(
    stringToSign('20150830T123600Z', scope, canonical),
    [
      'AWS4-HMAC-SHA256',
      '20150830T123600Z',
      '20150830/us-east-1/iam/aws4_request',
      'f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59',
    ].join('\n'),
  )
  t.end()
})
